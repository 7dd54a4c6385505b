"""What an experiment compares, by name."""

import dataclasses
from pathlib import Path

import pytest

import tiny
from sparsefuse.config import Config
from sparsefuse.data.clips import load_clips
from sparsefuse.experiments.variants import Variant, methods_of, values_of
from sparsefuse.training.options import options_of
from sparsefuse.training.train import new_model


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return tiny.config(tiny.write_set(tmp_path / "data"))


def test_a_variant_keeps_all_other_settings(config: Config) -> None:
    other = Variant("x", "unimodal", {"modality": "rgb"}).of(config, 7)
    assert (other.method, other.seed, other.data, other.train) == ("unimodal", 7, config.data, config.train)
    assert options_of(other)["modality"] == "rgb"
    assert options_of(Variant("sft", "sft").of(other, 0)) == options_of(config)


def test_a_variant_changes_training_and_data(config: Config) -> None:
    other = Variant("x", "sft", train={"lr": 0.5}, data={"noise": 0.25}).of(config, 0)
    assert (other.train.lr, other.data.noise) == (0.5, 0.25)
    assert (other.train.epochs, other.data.manifest) == (config.train.epochs, config.data.manifest)


@pytest.mark.parametrize(
    ("option", "values", "place"),
    [
        ("pool", ["avg", "max"], lambda c: options_of(c)["pool"]),
        ("train.lr", [0.1, 0.01], lambda c: c.train.lr),
        ("data.crop", [0.0, 0.5], lambda c: c.data.crop),
        ("data.split.train_share", [0.5, 1.0], lambda c: c.data.split.train_share),
        (
            "unimodal_depth+train.lr",
            ["1+0.1", "2+0.001"],
            lambda c: f"{options_of(c)['unimodal_depth']}+{c.train.lr}",
        ),
    ],
)
def test_each_value_of_an_option_is_a_variant(config: Config, option: str, values: list, place) -> None:
    variants = values_of(config, option, values)
    assert [variant.name for variant in variants] == [f"sft, {option}={value}" for value in values]
    assert [place(variant.of(config, 0)) for variant in variants] == values


@pytest.mark.parametrize(
    ("option", "values", "message"),
    [
        ("pol", ["avg"], "unknown option of sft 'pol'; did you mean 'pool'"),
        ("train.lrr", [1], "unknown option of sft 'train.lrr'; did you mean 'train.lr'"),
        ("unimodal_depth+fusion_depth", ["8+4", "12"], r"takes 2 values joined by \+; got '12'"),
        ("train.schedule", ["cosin"], "train.schedule cannot be 'cosin'"),
        ("data.split", [3], "data.split cannot be 3"),
        ("drop+drop", ["0+1"], "option: 'drop' occurs twice"),
        ("pool", ["avg", "avg"], "values: 'avg' occurs twice"),
    ],
)
def test_wrong_options_and_values_are_errors(config: Config, option: str, values: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        values_of(config, option, values)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("unimodal_depth+fusion_depth", ["0+2", "1+1", "2+0"]),  # the fusion layer
        ("num_bottlenecks", [1, 2]),
        ("data.max_length", [2, 4]),  # the clip span
        ("data.split.train_share", [0.5, 1.0]),
        ("shared", [False, True]),
        ("fusion", ["bottleneck", "vanilla", "cross"]),
    ],
)
def test_the_sweeps_of_mbts_paper_are_ablations(tmp_path: Path, option: str, values: list) -> None:
    """Each changes the model or the clips that it learns from."""
    config = tiny.config(tiny.write_set(tmp_path / "data"), "mbt")
    seen = []
    for variant in values_of(config, option, values):
        changed = variant.of(config, 0)
        clips = load_clips(changed.data, Path())
        model = new_model(changed, clips)
        sizes = [tuple(p.shape) for p in model.parameters()], clips.longest, len(clips.splits["train"])
        layers = [type(layer).__name__ for layer in model.layers]
        seen.append(str((sizes, layers)))
    assert len(set(seen)) == len(values)


def test_subsets_of_modalities_are_rows_of_their_own(config: Config, tmp_path: Path) -> None:
    found = methods_of(config, ["sft", "unimodal"], tmp_path, ["each"])
    reads = {
        "sft": None,
        "sft (rgb)": ["rgb"],
        "sft (sound)": ["sound"],
        "unimodal (rgb)": None,
        "unimodal (sound)": None,
    }
    assert {variant.name: variant.options.get("modalities") for variant in found} == reads
    assert [v.name for v in methods_of(config, ["late"], tmp_path, ["all"])] == ["late"]


def test_all_but_one_of_two_modalities_is_the_other_alone(config: Config, tmp_path: Path) -> None:
    found = methods_of(config, ["sft"], tmp_path, ["leave-one-out", "each"])
    assert [variant.name for variant in found] == ["sft", "sft (rgb)", "sft (sound)"]


def test_of_three_modalities_each_is_left_out_in_turn(config: Config, tmp_path: Path) -> None:
    three = dataclasses.replace(config, options={"sft": {"modalities": ["a", "b", "c"]}})
    found = methods_of(three, ["sft"], tmp_path, ["leave-one-out"])
    assert {variant.name: variant.of(three, 0).options["sft"]["modalities"] for variant in found} == {
        "sft": ["a", "b", "c"], "sft without a": ["b", "c"], "sft without b": ["a", "c"], "sft without c": ["a", "b"],
    }  # fmt: skip


def test_the_baseline_has_a_row_of_each_modality_and_trains_nothing(config: Config, tmp_path: Path) -> None:
    long = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=9, warmup_epochs=2.0, ema=0.5))
    found = methods_of(long, ["baseline"], tmp_path, ["leave-one-out"])
    assert [variant.name for variant in found] == ["baseline", "baseline (rgb)", "baseline (sound)"]
    assert {(v.of(long, 0).train.epochs, v.of(long, 0).train.warmup_epochs) for v in found} == {(1, 0.0)}
    one = tiny.with_data(config, modalities=["sound"])
    assert [variant.name for variant in methods_of(one, ["baseline"], tmp_path)] == ["baseline"]


def test_one_modality_has_no_subsets(config: Config, tmp_path: Path) -> None:
    one = tiny.with_data(config, modalities=["sound"])
    with pytest.raises(ValueError, match="modalities=each needs two modalities or more; there is sound"):
        methods_of(one, ["sft"], tmp_path, ["each"])
    with pytest.raises(ValueError, match="unknown value of modalities 'eech'; did you mean 'each'"):
        methods_of(config, ["sft"], tmp_path, ["eech"])


def test_a_list_of_modalities_is_named_by_them() -> None:
    variants = values_of(Config(), "data.modalities", [["rgb", "audio"], ["audio"]])
    assert [variant.name for variant in variants] == ["sft, data.modalities=rgb+audio", "sft, data.modalities=audio"]
    assert variants[0].of(Config(), 0).data.modalities == ["rgb", "audio"]
