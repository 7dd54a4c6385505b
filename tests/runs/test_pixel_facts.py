"""model.json of a run on pictures: read as it was written, refused where no run can have it; its task by itself."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from sparsefuse.config.pixels import PictureStream
from sparsefuse.files.typed import from_json
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.records import ModelFacts

FACTS = PixelFacts(
    task="segment",
    name="late",
    method="late",
    options={"size": "tiny"},
    streams={"depth": PictureStream("depth", unit=0.001), "rgb": PictureStream("color")},
    channels={"depth": 2, "rgb": 3},
    classes=["wall", "floor"],
    outputs=2,
    target=PictureStream(),
    ignore=255,
    size=(24, 32),
    height=0,
    width=0,
    clips={},
)


def test_facts_are_read_as_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write(FACTS)
    assert folder.read(PixelFacts) == FACTS
    assert folder.task == "segment"


def test_a_verb_of_clips_refuses_a_run_on_pictures(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write(FACTS)
    with pytest.raises(ValueError, match="is a run of task segment, on pictures; expected one on clips"):
        folder.read(ModelFacts)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"task": "paint"}, "task"),
        ({"streams": {}, "channels": {}}, "streams names 0; expected 1 to 64"),
        ({"channels": {"rgb": 3}}, "channels is of"),
        ({"channels": {"rgb": 3, "depth": 1_000_000_000}}, "channels.depth is 1000000000; depth has 2"),
        ({"streams": {"rgb": {"kind": "auto"}, "depth": {"kind": "gray"}}}, "streams.rgb.kind is auto"),
        ({"streams": {"rgb": {"kind": "color"}, "depth": {"kind": "depth"}}}, "streams.depth.unit is 0"),
        ({"streams": {"rgb": {"kind": "color", "unit": -1}, "depth": {"kind": "gray"}}}, "streams.rgb.unit is -1"),
        ({"outputs": 10**9}, "outputs is 1000000000; expected a whole number, 1 to 100,000"),
        ({"outputs": 3}, "classes has 2 names of 3 outputs"),
        ({"classes": ["a", "a"]}, "or a name twice"),
        ({"task": "translate"}, "target.kind is auto"),
        ({"task": "translate", "target": {"kind": "color"}}, "outputs is 2"),
        ({"ignore": -1}, "ignore is -1"),
        ({"size": [0, 9]}, "size.0 is 0"),
        ({"size": [9, 10**9]}, "size.1 is 1000000000"),
        ({"size": [9]}, "size has 1 values; expected 2"),
        ({"width": 10**9}, "width is 1000000000"),
        ({"height": "9"}, "height is a text; expected a whole number"),
        ({"surprise": 1}, "surprise"),
    ],
)  # fmt: skip
def test_what_no_run_can_have_is_refused(change: dict[str, object], why: str) -> None:
    tree = json.loads(json.dumps(asdict(FACTS)))
    with pytest.raises(ValueError, match=why):
        from_json(PixelFacts, {**tree, **change}, "model.json")


def test_a_picture_to_translate_to_has_the_channels_of_its_kind() -> None:
    tree = json.loads(json.dumps(asdict(FACTS))) | {"task": "translate", "classes": []}
    for kind, outputs in (("color", 3), ("depth", 1), ("gray", 1), ("normal", 3)):
        target = {"kind": kind, "unit": 0.001}
        assert from_json(PixelFacts, {**tree, "outputs": outputs, "target": target}, "model.json").outputs == outputs
