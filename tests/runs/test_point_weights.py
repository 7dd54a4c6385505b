"""Weights and facts of a run on clouds: read as written; whatever model.json says, nothing large is built."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny_points
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.point_facts import PointFacts
from sparsefuse.runs.point_weights import build_point_model, load_point_model, write_point_weights
from sparsefuse.runs.records import ModelFacts

FACTS = PointFacts(
    task="detect", name="late", method="late", options={"size": tiny_points.SIZE}, channels=["color"],
    classes=["crate", "drum"], num_points=64, points=60, frames=None, pictures=2, size=(16, 16), height=0, width=0,
    clips={},
)  # fmt: skip
STATS = {"pictures": (torch.rand(3), torch.rand(3) + 0.5)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    folder.write(FACTS)
    torch.manual_seed(0)
    write_point_weights(folder, build_point_model(FACTS), STATS, {"epoch": 1})
    return folder


def test_a_model_is_read_as_it_was_written(written: RunFolder) -> None:
    torch.manual_seed(0)
    mine = build_point_model(FACTS).state_dict()
    facts, model, stats = load_point_model(written)
    assert json.loads(json.dumps(facts.options)) == json.loads(json.dumps(FACTS.options))
    assert replace(facts, options={}) == replace(FACTS, options={})
    assert all(torch.equal(mine[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(stats["pictures"][1], STATS["pictures"][1])


def test_a_verb_of_clips_or_pictures_refuses_a_run_on_clouds(written: RunFolder) -> None:
    assert written.task == "detect"
    with pytest.raises(ValueError, match=r"is a run of task detect, on clouds; expected one on clips"):
        written.read(ModelFacts)
    with pytest.raises(ValueError, match="is a run of task detect, on clouds; expected one on pictures"):
        written.read(PixelFacts)


def sized(**changes) -> PointFacts:
    return replace(FACTS, options={"size": {**tiny_points.SIZE, **changes}})


LEVELS = tiny_points.SIZE["levels"]


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (replace(FACTS, method="painted"), "does not hold the model that model.json describes"),
        (replace(FACTS, options={"size": "s"}), "far more weights"),
        (sized(layers=10**9), "far more weights"),
        (sized(proposals=10**9), "proposals times classes is 2000000000; expected a whole number, 1 to 16,384"),
        (sized(levels=[[10**9, 0.5, 8, [8, 8]], *LEVELS[1:]]), "points of a level is 1000000000"),
        (sized(levels=[[10**6, 0.5, 10**9, [8, 8]], *LEVELS[1:]]), "neighbours of a level"),
        (replace(FACTS, size=(16_384, 16_384)), "tokens of pictures is"),
        (replace(FACTS, options={"size": {"dim": "x"}}), "does not describe a model that can be built"),
        (replace(FACTS, options={"depth": 3}), "does not describe a model that can be built"),
        (replace(FACTS, method="../late"), "does not describe a model that can be built"),
        (replace(FACTS, classes=["a", "b", "c"]), "does not hold the model"),
    ],
)
def test_a_hostile_description_is_refused(written: RunFolder, tmp_path: Path, facts: PointFacts, why: str) -> None:
    folder = RunFolder(tmp_path)
    folder.write(facts)
    folder.weights.symlink_to(written.weights)
    with pytest.raises(ValueError, match=why):
        load_point_model(folder)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"classes": ["a", "a"]}, "classes has a name twice"),
        ({"classes": []}, "classes is 0"),
        ({"num_points": 0}, "num_points is 0"),
        ({"points": 65}, "points is 65; expected a whole number, 1 to 64"),
        ({"channels": ["color", "color"]}, "expected each once"),
        ({"frames": -1}, "frames is -1"),
        ({"size": (0, 16)}, "size.0 is 0"),
        ({"height": 10**9}, "height is 1000000000"),
    ],
)
def test_facts_that_no_run_has_are_refused(change: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(FACTS, **change)
