"""A configuration from Python: the same as the command line's, and errors with the nearest field."""

from pathlib import Path

import pytest

from sparsefuse.cli import app
from sparsefuse.cli.argv import spelled_out
from sparsefuse.config import Config, Data, SpecAugment, Split, Train

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: "-".join(path.parts[-2:]))
def test_a_yaml_loads_as_on_the_command_line(path: Path) -> None:
    assert Config.load(path) == app._parsed(spelled_out(["train", str(path)], app.WITH_CONFIG))[1]["config"]


def test_paths_in_a_yaml_are_relative_to_it_and_those_of_arguments_are_not(tmp_path: Path) -> None:
    (tmp_path / "vit").mkdir()
    text = "data: {manifest: clips.csv, classes: {verb: lists/verbs.csv}}\ntrain: {pretrained: vit}\n"
    (tmp_path / "c.yml").write_text(text)
    found = Config.load(str(tmp_path / "c.yml"))
    assert Path(found.data.manifest) == tmp_path / "clips.csv"
    assert Path(found.data.classes["verb"]) == tmp_path / "lists" / "verbs.csv"
    assert Path(found.train.pretrained) == tmp_path / "vit"
    assert Config.load(tmp_path / "c.yml", data={"manifest": Path("other.csv")}).data.manifest == "other.csv"
    (tmp_path / "c.yml").write_text("train: {pretrained: google/vit}\n")
    assert Config.load(tmp_path / "c.yml").train.pretrained == "google/vit", "a name on the hub"


def test_arguments_change_only_what_they_name(tmp_path: Path) -> None:
    before = Config(data=Data(label="verb"), options={"sft": {"keep": 2}, "late": {"drop": 0.1}}, train=Train(lr=0.5))
    found = Config.load(before, seed=3, train={"epochs": 4}, options={"sft": {"sparse": "dense"}})
    assert (found.seed, found.train, found.data) == (3, Train(lr=0.5, epochs=4), before.data)
    assert found.options == {"sft": {"keep": 2, "sparse": "dense"}, "late": {"drop": 0.1}}
    assert before.options == {"sft": {"keep": 2}, "late": {"drop": 0.1}}
    assert Config.load(before, train=Train(epochs=4)).train == Train(epochs=4), "a whole section is the section"
    assert Config.load(before) is before
    assert Config.load() == Config()


def test_a_manifest_is_a_configuration_too(tmp_path: Path) -> None:
    assert Config.load("clips.csv", method="late") == Config(data=Data(manifest="clips.csv"), method="late")


def test_a_mapping_is_a_configuration_too() -> None:
    found = Config.load({"data": {"manifest": Path("clips.csv")}, "train": {"lr": 0.5}}, train={"epochs": 3})
    assert found == Config(data=Data(manifest="clips.csv"), train=Train(lr=0.5, epochs=3))
    with pytest.raises(ValueError, match="is a list; expected a file, a mapping or a sparsefuse"):
        Config.load(["clips.csv"])  # pyright: ignore[reportArgumentType]


def test_nested_records_and_tuples_keep_their_types() -> None:
    data = {"split": {"fractions": (0.6, 0.2, 0.2)}, "spec_augment": {"sound": {"freq": 3}}}
    found = Config.load(data=data).data
    assert found == Data(split=Split(fractions=(0.6, 0.2, 0.2)), spec_augment={"sound": SpecAugment(freq=3)})
    assert isinstance(found.split.fractions, tuple)


WRONG = {
    "a field of a section": ({"epochs": 3}, r"unknown field 'epochs'; did you mean train=\{'epochs': ...\}\?"),
    "an unknown field": ({"metod": "late"}, "unknown field 'metod'; did you mean 'method'?"),
    "an unknown inner field": ({"train": {"epoch": 3}}, "train: unknown field 'epoch'; did you mean 'epochs'?"),
    "a word of another list": ({"data": {"task": "clas"}}, "data.task: unknown task 'clas'; did you mean 'class'?"),
    "a text for a number": ({"train": {"lr": "high"}}, "train.lr is a text; expected a number"),
    "another kind of value": ({"seed": {1}}, "seed is set; expected a whole number"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument_names_the_nearest(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.load("clips.csv", **changes)


def test_a_yaml_that_is_wrong_or_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("train: {epochs: three}\n")
    with pytest.raises(ValueError, match=r"c\.yaml: train\.epochs is a text; expected a whole number"):
        Config.load(tmp_path / "c.yaml")
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml"):
        Config.load(tmp_path / "gone.yaml")
