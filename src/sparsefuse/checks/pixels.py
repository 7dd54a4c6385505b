"""Checks the configuration of a task on pixels before any file is read: its numbers, its method, and what it may not
set."""

from sparsefuse.checks.scenes import check_classes, check_foreign, check_methods, check_size
from sparsefuse.config import Config
from sparsefuse.config.pixels import PIXEL_TASKS, PictureStream, Pixels
from sparsefuse.methods import pixels as pixels_methods

_CLIPS_ONLY = {
    "data.separator": "a pixel has one class",
    "data.classes": "name them in pixels.classes",
    "data.token_dropout": "set pixels.holes, which cuts rectangles out of pictures",
    "data.noise": "set pixels.streams, {rgb: {noise: 0.1}}",
    "data.crop": "set pixels.scale, [1, 1.5]",
    "data.scale": "set contrast in pixels.streams, or pixels.scale",
    "data.mirror": "set pixels.flip",
    "data.rotate": "it turns series of points",
    "data.axes": "it is for series of points",
    "data.time_warp": "pictures have no time",
    "data.spec_augment": "set pixels.holes, which cuts rectangles out of pictures",
    "data.pictures": "set pixels.scale and pixels.flip, and brightness and contrast in pixels.streams",
    "data.max_length": "set pixels.height and pixels.width",
    "data.windows": "large pictures are predicted in tiles",
    "data.resample": "set pixels.height and pixels.width",
    "features": "the manifest names the pictures",
    "train.cache": "pictures are kept in memory, up to data.cache_mb",
    "train.cuda_graphs": "steps on pixels are not captured",
    "train.pretrained": "there are no pretrained weights of these models",
    "train.mixup": "there is no mixup of pictures",
    "train.mixup_warmup": "there is no mixup of pictures",
    "train.balance": "every pixel counts alike",
    "train.replay": "there is no finetuning on pixels",
    "distill.features": "there is no CLS token",
    "distill.unlabelled": "there is no distillation on pixels",
    "distill.teachers": "there is no distillation on pixels",
}
"""settings of clips -> what to set for pictures, or why there is none"""
_SHARES = ("flip", "holes")


def check_pixels(config: Config) -> None:
    """Raises ValueError, naming it, for a setting that a task on pixels does not have, or a number out of its range."""
    task, pixels = config.data.task, config.pixels
    if task not in PIXEL_TASKS:
        if pixels != Pixels():
            raise ValueError(
                f"pixels is set, but data.task is {task}; the section is for {' and '.join(PIXEL_TASKS)}: set data.task"
            )
        return
    check_foreign(config, _CLIPS_ONLY, "pictures")
    _check_numbers(pixels)
    _check_task(task, pixels)
    check_methods(config, pixels_methods, "on pixels")
    _check_options(config)


def _check_numbers(pixels: Pixels) -> None:
    low, high = pixels.scale
    if not 0 < low <= high <= 100:
        raise ValueError(f"pixels.scale is {[low, high]}; expected two factors above 0, the smaller first")
    for name in _SHARES:
        if not 0 <= getattr(pixels, name) <= 1:
            raise ValueError(f"pixels.{name} is {getattr(pixels, name):g}; expected a probability, 0 to 1")
    check_size("pixels", pixels.height, pixels.width)
    if not 0 <= pixels.adversarial < 1e6 or not 0 < pixels.adversarial_lr < 1e6:
        raise ValueError(
            f"pixels.adversarial is {pixels.adversarial:g}, pixels.adversarial_lr {pixels.adversarial_lr:g}; expected "
            "0 or more, and more than 0"
        )
    for name, stream in {
        **{f"streams.{name}": s for name, s in pixels.streams.items()},
        "target": pixels.target,
    }.items():
        _check_stream(f"pixels.{name}", stream)


def _check_stream(place: str, stream: PictureStream) -> None:
    for name in ("unit", "brightness", "noise"):
        if not 0 <= getattr(stream, name) < 1e6:
            raise ValueError(f"{place}.{name} is {getattr(stream, name):g}; expected 0 or more")
    if not 0 <= stream.contrast <= 1:
        raise ValueError(f"{place}.contrast is {stream.contrast:g}; expected 0 to 1")
    if stream.unit and stream.kind not in ("auto", "depth"):
        raise ValueError(f"{place}.unit is {stream.unit:g}, but its kind is {stream.kind}; only depth has a unit")


def _check_task(task: str, pixels: Pixels) -> None:
    """What is of the other task."""
    if task == "segment":
        if pixels.target != PictureStream():
            raise ValueError(
                "pixels.target is set, but data.task is segment, which has label pictures; set data.task=translate"
            )
        if pixels.adversarial:
            raise ValueError(
                f"pixels.adversarial is {pixels.adversarial:g}, but data.task is segment; only translate has it"
            )
        check_classes("pixels", pixels.classes)
        if 0 <= pixels.ignore < len(pixels.classes):
            raise ValueError(
                f"pixels.ignore is {pixels.ignore}, the number of class {pixels.classes[pixels.ignore]!r:.60}; set it "
                "to one that is no class"
            )
    elif pixels.classes:
        raise ValueError(
            "pixels.classes is set, but data.task is translate, which has no classes; set data.task=segment"
        )
    if (pixels.target.brightness, pixels.target.contrast, pixels.target.noise) != (0, 0, 0):
        raise ValueError("pixels.target has brightness, contrast or noise, but targets are not changed; leave them out")


def _check_options(config: Config) -> None:
    """The task is an option of every method, but not the configuration's."""
    for method, options in config.options.items():
        if "task" in options:
            raise ValueError(
                f"options.{method}.task is {options['task']!r:.60}, but data.task decides it; leave it out"
            )
