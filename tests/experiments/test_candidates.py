"""What `auto` tries: methods, recipes and stems."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

import tiny
from sparsefuse.config import Config
from sparsefuse.data.manifest import Row
from sparsefuse.experiments import candidates
from sparsefuse.experiments.auto import judged_by_own
from sparsefuse.experiments.candidates import Helpful, candidates_of, promising


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.load(tiny.write_set(tmp_path))


def clips(train: int = 40, **lengths: int) -> SimpleNamespace:
    typical = {"rgb": 4, "sound": 6, **lengths}
    return SimpleNamespace(typical=typical, features=tiny.FEATURES, splits={"train": range(train)})


def test_every_method_is_tried_by_two_recipes(config: Config) -> None:
    found = candidates_of(config, clips())
    names = ["unimodal (rgb)", "unimodal (sound)", "late", "sft", "mbt", "concat"]
    simple = ["baseline", "baseline (rgb)", "baseline (sound)"]
    assert [one.name for one in found] == simple + [name for method in names for name in (method, f"{method}, small")]
    paper, small = (one.of(config, 0) for one in found[7:9])
    assert (paper.recipe, paper.train.epochs, paper.train.ema, paper.method) == ("paper", 20, 0.0, "late")
    assert (small.recipe, small.train.epochs, small.train.ema, small.method) == ("small", 60, 0.98, "late")
    assert {one.recipe for one in candidates_of(config, clips(train=3000))[3:]} == {"paper", "large"}


@pytest.mark.parametrize("recipe", ["paper", "small"])
def test_a_recipe_that_is_said_is_the_only_one(config: Config, recipe: str) -> None:
    found = candidates_of(Config.load(config, recipe=recipe), clips())
    names = ["unimodal (rgb)", "unimodal (sound)", "late", "sft", "mbt", "concat"]
    assert [one.name for one in found[3:]] == names
    assert {one.of(Config.load(config, recipe=recipe), 0).recipe for one in found} == {recipe}


def test_without_scikit_learn_the_baseline_is_left_out_and_named(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(candidates, "find_spec", lambda _: None)
    assert not any(one.method == "baseline" for one in candidates_of(config, clips()))
    assert "no candidate baseline: it needs scikit-learn" in caplog.text


def test_long_raw_streams_get_the_stem_that_check_proposes(config: Config) -> None:
    """500 tokens of 5 features: windows of two hops of 500 / 64 tokens, rounded; the short stream is left as it is."""
    stem = {"rgb": {"kind": "patch", "tokens": 16, "hop": 8}}
    for one in candidates_of(config, clips(rgb=500)):
        expected = {} if one.options.get("modality") == "sound" or one.method == "baseline" else stem
        assert one.options.get("stem", {}) == expected, one.name
        assert one.options.get("pos_embed", {}) == ({"scale": 0.1} if expected else {}), one.name
    own = dataclasses.replace(config, options={"all": {"pos_embed": {"scale": 0.5}}})
    assert not any("pos_embed" in one.options for one in candidates_of(own, clips(rgb=500)))
    mine = dataclasses.replace(config, options={"all": {"stem": {"sound": {"kind": "conv"}}}})
    assert not any("stem" in one.options for one in candidates_of(mine, clips(rgb=500)))


def test_by_the_recipe_for_few_clips_series_get_convolutions(config: Config) -> None:
    """16 tokens are enough for them; the paper's recipe has none."""
    stem = {"rgb": {"kind": "conv", "filters": 64, "stride": 1}}
    for one in candidates_of(config, clips(rgb=16)):
        wanted = one.recipe == "small" and one.options.get("modality") != "sound"
        assert one.options.get("stem", {}) == (stem if wanted else {}), one.name
    for recipe, wanted in (("small", stem), ("paper", {})):
        found = candidates_of(Config.load(config, recipe=recipe), clips(rgb=16))
        assert [one.options.get("stem", {}) for one in found if one.name == "sft"] == [wanted]


def test_a_choice_by_people_who_train_is_doubted() -> None:
    def of(*groups: str) -> list[Row]:
        return [Row(str(i), {}, "a", group=group) for i, group in enumerate(groups)]

    assert "(ada, bob)" in judged_by_own(of("ada", "bob", "eve"), of("bob", "ada"))
    assert not judged_by_own(of("ada", "bob"), of("eve"))
    assert not judged_by_own(of("", ""), of(""))


def test_of_three_streams_those_are_fused_that_the_baseline_gains_by(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third one that hurts is found by statistics in seconds, and is read by few of the slow candidates."""
    rows = (tiny.write_set(Path(config.data.manifest).parent / "three")).read_text().splitlines()
    manifest = Path(config.data.manifest).with_name("third.csv")
    manifest.write_text("\n".join([f"{rows[0]},third", *(f"{row},x.npy" for row in rows[1:])]))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, manifest=str(manifest)))
    three = clips()
    three.features = {**tiny.FEATURES, "third": 3}
    three.typical = {**three.typical, "third": 4}
    found = candidates_of(config, three)
    baselines = [one.name for one in found if one.method == "baseline"]
    assert len(baselines) == 7
    pair, single = frozenset(["rgb", "sound"]), frozenset(["sound"])

    def kept(best: frozenset[str], *, sure: bool) -> set[str]:
        left = promising(found, Helpful(best, single, sure), three)
        assert set(left.values()) <= {f"the baseline is best with {', '.join(sorted(best))}"}
        return {one.name for one in found} - set(left)

    pairs = {f"{name} without third, small" for name in ("late", "sft", "mbt", "concat")} | {"sft without third"}
    mine = {"baseline without third", "baseline (sound)", "unimodal (sound), small"}
    assert kept(pair, sure=True) == mine | pairs
    assert kept(pair, sure=False) == mine | pairs | set(baselines) | {"late, small", "sft, small"}
    every = {"sft", "unimodal (sound), small", *(f"{name}, small" for name in ("late", "sft", "mbt", "concat"))}
    assert kept(single, sure=True) == every | {"baseline (sound)"}
    assert kept(frozenset(three.features), sure=True) == every | {"baseline (sound)", "baseline"}
    monkeypatch.setattr(candidates, "find_spec", lambda _: None)
    pairs = {one.name for one in candidates_of(config, three) if " without " in one.name}
    assert pairs == {f"sft without {name}{end}" for name in three.features for end in ("", ", small")}
