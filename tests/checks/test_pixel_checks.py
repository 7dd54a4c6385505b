"""A configuration of a task on pixels that no run could follow is refused, by name."""

from typing import Any

import pytest

from sparsefuse.checks import check_config
from sparsefuse.config import Config


def load(task: str = "segment", **changes: Any) -> Config:
    data = {"manifest": "m.csv", "task": task, **changes.pop("data", {})}
    return Config.load(data=data, **changes)


def test_methods_and_options_are_those_on_pixels() -> None:
    check_config(load(method="early", options={"early": {"size": "tiny"}, "all": {"size": "b0"}}))
    with pytest.raises(ValueError, match=r"data.task is segment: unknown method on pixels 'mult'"):
        check_config(load(method="mult"))
    with pytest.raises(ValueError, match="unknown option of late on pixels 'dim'"):
        check_config(load(options={"late": {"dim": 40}}))
    with pytest.raises(ValueError, match="options: unknown method on pixels 'mult'"):
        check_config(load(options={"mult": {}}))
    with pytest.raises(ValueError, match=r"options\.all\.task is 'translate', but data\.task decides it"):
        check_config(load(options={"all": {"task": "translate"}}))


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("data", "windows", 3, "data.windows is 3, which has no meaning for data.task=segment: large pictures"),
        ("data", "resample", {"rgb": 8}, "data.resample is .* set pixels.height and pixels.width"),
        ("data", "noise", 0.1, "data.noise is 0.1, .* set pixels.streams"),
        ("data", "mirror", 0.5, "data.mirror is 0.5, .* set pixels.flip"),
        ("train", "cache", "gpu", "train.cache is gpu, .* up to data.cache_mb"),
        ("train", "mixup", "input", "train.mixup is input, .* there is no mixup of pictures"),
        ("train", "mixup_alpha", 0.2, "train.mixup_alpha is 0.2, but there is no mixup"),
        ("pixels", "scale", [2.0, 1.0], r"pixels.scale is \[2.0, 1.0\]; expected two factors"),
        ("pixels", "flip", 1.5, "pixels.flip is 1.5; expected a probability"),
        ("pixels", "height", 64, "pixels.height is 64 and pixels.width 0; set both"),
        ("pixels", "classes", ["a", "b", "a"], "pixels.classes names 'a' twice"),
        ("pixels", "ignore", 0, "pixels.ignore is 0, the number of class 'wall'"),
        ("pixels", "adversarial", 1.0, "pixels.adversarial is 1, but data.task is segment"),
        ("pixels", "target", {"kind": "normal"}, "pixels.target is set, but data.task is segment"),
        ("pixels", "streams", {"d": {"unit": -1.0}}, "pixels.streams.d.unit is -1; expected 0 or more"),
        ("pixels", "streams", {"d": {"contrast": 2.0}}, "pixels.streams.d.contrast is 2; expected 0 to 1"),
        ("pixels", "streams", {"d": {"kind": "color", "unit": 0.1}}, "only depth has a unit"),
    ],
)
def test_what_pictures_do_not_have_is_refused(section: str, name: str, value: object, message: str) -> None:
    classes = {"classes": ["wall", "floor"]} if name == "ignore" else {}
    part = load(**{section: {name: value}}) if section != "pixels" else load(pixels={**classes, name: value})
    with pytest.raises(ValueError, match=message):
        check_config(part)


def test_translation_has_no_classes() -> None:
    check_config(load("translate", pixels={"adversarial": 1.0, "target": {"kind": "normal"}}))
    with pytest.raises(ValueError, match=r"pixels.classes is set, but data.task is translate"):
        check_config(load("translate", pixels={"classes": ["wall"]}))
    with pytest.raises(ValueError, match="targets are not changed"):
        check_config(load("translate", pixels={"target": {"noise": 0.5}}))


def test_pixels_are_refused_where_clips_are_classified() -> None:
    with pytest.raises(
        ValueError, match=r"pixels is set, but data.task is auto; the section is for segment and translate"
    ):
        check_config(load("auto", pixels={"flip": 0.5}))


def test_mixup_that_is_off_is_fine() -> None:
    check_config(load(train={"mixup_alpha": 0}))
