"""Checks the configuration of a task on clouds before any file is read: its numbers, its method, and what it may not
set."""

import math

from sparsefuse.checks.scenes import check_classes, check_foreign, check_methods, check_size
from sparsefuse.config import Config
from sparsefuse.config.points import POINT_TASKS, Points
from sparsefuse.methods import points as points_methods

MOST_POINTS, MOST_FRAMES = 2**20, 1024
"""that a scene may have read"""
_CLIPS_ONLY = {
    "data.modalities": "name the columns in points.cloud and points.cameras; points.frames=0 reads no picture",
    "data.label": "name the column of boxes in points.boxes",
    "data.separator": "a box has one class",
    "data.classes": "name them in points.classes",
    "data.token_dropout": "set points.num_points",
    "data.noise": "set points.jitter",
    "data.crop": "a scene stays whole",
    "data.scale": "set points.scale",
    "data.mirror": "set points.flip",
    "data.rotate": "set points.rotate",
    "data.axes": "set points.rotate",
    "data.time_warp": "a cloud has no time",
    "data.spec_augment": "a cloud is not a spectrogram",
    "data.pictures": "set points.height and points.width",
    "data.max_length": "set points.num_points",
    "data.windows": "a scene is read whole",
    "data.resample": "set points.num_points",
    "features": "the manifest names the files",
    "train.cache": "scenes are kept in memory, up to data.cache_mb",
    "train.cuda_graphs": "steps on points are not captured",
    "train.pretrained": "there are no pretrained weights of these models",
    "train.precision": "positions in metres need float32",
    "train.mixup": "there is no mixup of scenes",
    "train.mixup_warmup": "there is no mixup of scenes",
    "train.label_smoothing": "its losses are as published",
    "train.balance": "every box counts alike",
    "train.replay": "there is no finetuning on clouds",
    "distill.features": "there is no CLS token",
    "distill.unlabelled": "there is no distillation on clouds",
    "distill.teachers": "there is no distillation on clouds",
}
"""settings of clips -> what to set for scenes, or why there is none"""


def check_points(config: Config) -> None:
    """Raises ValueError, naming it, for a setting that a task on clouds does not have, or a number out of its range."""
    task, points = config.data.task, config.points
    if task not in POINT_TASKS:
        if points != Points():
            raise ValueError(
                f"points is set, but data.task is {task}; the section is for {' and '.join(POINT_TASKS)}: set data.task"
            )
        return
    check_foreign(config, _CLIPS_ONLY, "scenes")
    _check_numbers(points)
    _check_names(points)
    check_methods(config, points_methods, "of detection")


def _check_numbers(points: Points) -> None:
    low, high = points.scale
    if not 0 < low <= high <= 100:
        raise ValueError(f"points.scale is {[low, high]}; expected two factors above 0, the smaller first")
    if not 0 <= points.flip <= 1:
        raise ValueError(f"points.flip is {points.flip:g}; expected a probability, 0 to 1")
    if not 0 <= points.rotate <= 180:
        raise ValueError(f"points.rotate is {points.rotate:g}; expected degrees, 0 to 180")
    if not 0 <= points.jitter < math.inf:
        raise ValueError(f"points.jitter is {points.jitter:g}; expected metres, 0 or more")
    if not 1 <= points.num_points <= MOST_POINTS:
        raise ValueError(f"points.num_points is {points.num_points}; expected 1 to {MOST_POINTS:,}")
    if points.frames is not None and not 0 <= points.frames <= MOST_FRAMES:
        raise ValueError(f"points.frames is {points.frames}; expected 0 to {MOST_FRAMES:,}, or null for all pictures")
    check_size("points", points.height, points.width)


def _check_names(points: Points) -> None:
    check_classes("points", points.classes)
    columns = {"cloud": points.cloud, "cameras": points.cameras, "boxes": points.boxes}
    for name, column in columns.items():
        if not column:
            raise ValueError(f"points.{name} is empty; expected a column of the manifest")
        if list(columns.values()).count(column) > 1:
            raise ValueError(
                f"points.{name} is {column!r:.60}, which names another part too; expected a column for each"
            )
    if len(set(points.channels)) < len(points.channels):
        raise ValueError(f"points.channels is {points.channels}; expected each once")
