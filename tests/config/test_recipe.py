"""A recipe sets what the user leaves; what was used is in the run folder."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

import sparsefuse
import tiny
from command import call
from sparsefuse.budget.chosen import write_yaml
from sparsefuse.checks import check_config
from sparsefuse.classifier.arguments import config_of
from sparsefuse.cli import app
from sparsefuse.config import Config, Data, Train
from sparsefuse.config.recipe import SETTINGS

SMALL = SETTINGS["small"]


def write(path: Path, tree: dict) -> Path:
    path.write_text(yaml.safe_dump(tree))
    return path


def settings_of(config: Config) -> dict:
    return {part: {name: getattr(getattr(config, part), name) for name in names} for part, names in SMALL.items()}


def test_fields_that_are_set_win_though_they_are_as_in_the_paper(tmp_path: Path) -> None:
    tree = {"data": {"manifest": "m.csv", "noise": 0.0}, "recipe": "small"}
    config = Config.load(write(tmp_path / "c.yaml", tree), train={"lr": 1e-3})
    expected = {part: dict(names) for part, names in SMALL.items()}
    expected["data"]["noise"], expected["train"]["lr"] = 0.0, 1e-3
    assert settings_of(config) == expected
    assert Config.load(config) == config
    others = Config.load(config, seed=3)
    assert settings_of(others) == expected
    assert dataclasses.replace(others, seed=0) == config


def test_another_recipe_changes_what_the_first_one_set() -> None:
    own = Config.load(data={"manifest": "m.csv"}, train={"epochs": 7})
    small = Config.load(own, recipe="small")
    assert settings_of(small)["data"] == SMALL["data"]
    assert settings_of(small)["train"] == {**SMALL["train"], "epochs": 7}
    assert Config.load(small, recipe="auto") == own


@pytest.mark.usefixtures("made_up_costs")
def test_the_command_line_takes_it_below_the_yaml_and_its_other_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later of file and flag says which one it is; the run folder holds what was used."""
    data = tiny.write_set(tmp_path / "data")
    spec = {"batch_size": 4, "mixup_alpha": 0.0, "device": "cpu", "replay": 0}
    tree = {"data": {"manifest": str(data), "noise": 0.0}, "options": {"sft": tiny.OPTIONS["all"]}, "train": spec}
    tree["options"]["sft"] = {"dim": 10, "num_heads": 2, "keep": 2, "fusion_depth": 1}
    config = write(tmp_path / "c.yaml", {**tree, "recipe": "large"})
    out = tmp_path / "run"
    assert call(monkeypatch, "train", config, "--out", out, "--recipe", "small", "--train.epochs", "1") == 0
    used = json.loads((out / "config.json").read_text())
    assert used["recipe"] == "small"
    assert used["data"] | SMALL["data"] | {"noise": 0.0} == used["data"]
    assert used["train"] | SMALL["train"] | spec | {"epochs": 1} == used["train"]
    assert used["train"]["schedule"] == "plateau"  # nothing of the file's recipe


def test_the_command_line_takes_it_without_a_file_and_refuses_one_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    found = app._parsed(["train", "--data.manifest", "m.csv", "--recipe", "small", "--train.lr", "0.5"])[1]["config"]
    assert found == Config.load(recipe="small", data={"manifest": "m.csv"}, train={"lr": 0.5})
    assert call(monkeypatch, "train", "m.csv", "--recipe", "smal") == 2
    assert "recipe" in capsys.readouterr().err
    with pytest.raises(ValueError, match="unknown recipe 'smal'; did you mean 'small'"):
        Config.load(recipe="smal")


def test_a_configuration_that_is_written_is_read_as_the_same(tmp_path: Path) -> None:
    config = Config.load(recipe="small", data={"manifest": "m.csv", "noise": 0.0}, train={"epochs": 20})
    write_yaml(tmp_path / "chosen.yaml", config, tmp_path, [])
    read = Config.load(tmp_path / "chosen.yaml")
    assert dataclasses.replace(read, data=dataclasses.replace(read.data, manifest="m.csv")) == config


def test_a_recipe_without_its_settings_is_refused() -> None:
    with pytest.raises(ValueError, match=r"recipe is small, but it changes nothing.*Config\.load"):
        check_config(Config(Data("m.csv"), recipe="small"))
    check_config(Config(Data("m.csv"), recipe="small", train=Train(ema=SMALL["train"]["ema"])))


@pytest.mark.parametrize("recipe", SETTINGS)
def test_every_recipe_holds_for_a_single_epoch(recipe: str) -> None:
    check_config(Config.load(recipe=recipe, data={"manifest": "m.csv"}, train={"epochs": 1}))


def test_a_classifier_takes_one() -> None:
    given = sparsefuse.Classifier(recipe="small", noise=0.1).get_params()
    chosen = {name: given[name] for name in ("recipe", "noise")}
    config = config_of("sft", chosen, Path("m.csv"), {"label": "label"}, Config().data.split)
    assert config.recipe == "small"
    assert (config.data.noise, config.train.ema) == (0.1, SMALL["train"]["ema"])
    with pytest.raises(ValueError, match="unknown recipe 'big'"):
        config_of("sft", {"recipe": "big"}, Path("m.csv"), {"label": "label"}, Config().data.split)


def test_the_docs_say_what_each_recipe_sets() -> None:
    page = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block.partition("```")[0]) for block in page.split("```yaml\n")[1:]]
    assert {name: settings for name, settings in SETTINGS.items() if settings} in blocks
