"""A configuration of a task on clouds that no run could follow is refused, by name."""

from typing import Any

import pytest

from sparsefuse.checks import check_config
from sparsefuse.config import Config


def load(**changes: Any) -> Config:
    data = {"manifest": "m.csv", "task": "detect", **changes.pop("data", {})}
    return Config.load(data=data, **{"method": "points", **changes})


def test_methods_and_options_are_those_of_detection() -> None:
    check_config(load(method="painted", options={"painted": {"features": 8}, "all": {"size": "tiny", "frames": 1}}))
    with pytest.raises(ValueError, match=r"data.task is detect: unknown method of detection 'sft'"):
        check_config(load(method="sft"))
    with pytest.raises(ValueError, match="unknown option of points of detection 'frames'"):
        check_config(load(options={"points": {"frames": 1}}))
    with pytest.raises(ValueError, match="options: unknown method of detection 'mult'"):
        check_config(load(options={"mult": {}}))


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("data", "modalities", ["rgb"], r"data.modalities is \['rgb'\], .* points.frames=0 reads no picture"),
        ("data", "label", "box", "data.label is box, .* points.boxes"),
        ("data", "rotate", 30.0, "data.rotate is 30.0, .* set points.rotate"),
        ("train", "label_smoothing", 0.1, "train.label_smoothing is 0.1, .* its losses are as published"),
        ("train", "precision", "bfloat16", "train.precision is bfloat16, .* need float32"),
        ("train", "mixup_alpha", 0.2, "train.mixup_alpha is 0.2, but there is no mixup of scenes"),
        ("pixels", "flip", 0.5, "pixels is set, but data.task is detect"),
        ("points", "scale", [1.2, 1.0], r"points.scale is \[1.2, 1.0\]; expected two factors"),
        ("points", "flip", 1.5, "points.flip is 1.5; expected a probability"),
        ("points", "rotate", 200.0, "points.rotate is 200; expected degrees"),
        ("points", "jitter", -0.1, "points.jitter is -0.1; expected metres"),
        ("points", "num_points", 0, "points.num_points is 0; expected 1 to 1,048,576"),
        ("points", "frames", -1, "points.frames is -1; expected 0 to 1,024, or null"),
        ("points", "height", 64, "points.height is 64 and points.width 0; set both"),
        ("points", "classes", ["a", "a"], "points.classes names 'a' twice"),
        ("points", "boxes", "cloud", "points.cloud is 'cloud', which names another part too"),
        ("points", "cameras", "", "points.cameras is empty"),
        ("points", "channels", ["color", "color"], "points.channels is .*; expected each once"),
    ],
)
def test_what_scenes_do_not_have_is_refused(section: str, name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_config(load(**{section: {name: value}}))


def test_points_are_of_detection_alone() -> None:
    with pytest.raises(ValueError, match=r"points is set, but data\.task is segment"):
        check_config(Config.load(data={"manifest": "m.csv", "task": "segment"}, points={"flip": 0.5}))
    with pytest.raises(ValueError, match=r"points.channels.*smell"):
        load(points={"channels": ["smell"]})
