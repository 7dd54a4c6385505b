"""SUN RGB-D for detection: 10,335 rooms as colored points, with oriented boxes of ten classes, and a picture each.

Song et al., SUN RGB-D: a RGB-D scene understanding benchmark suite, 2015, as VoteNet (Qi et al. 2019) unpacks it.
Layout: sunrgbd_trainval/ with depth/*.mat, image/*.jpg, calib/*.txt, label_v1/*.txt or label/*.txt, train_data_idx.txt
and val_data_idx.txt; or, in place of depth and labels, folders sunrgbd_pc_bbox_votes_50k_v1_train and _val of
*_pc.npz and *_bbox.npy.
"""

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from sparsefuse.data.arrays import load
from sparsefuse.data.formats import demand
from sparsefuse.data.formats._clouds import Box, Shot, finish_clouds, read_numbers, write_scene
from sparsefuse.data.formats._media import refer
from sparsefuse.data.prepare import watched
from sparsefuse.files.skipped import Skip, Unusable, one_file

log = logging.getLogger(__name__)

CLASSES = ("bed", "table", "sofa", "chair", "toilet", "desk", "dresser", "night_stand", "bookshelf", "bathtub")
POINTS = {
    "classes": list(CLASSES),
    "num_points": 20_000,
    "height": 530,
    "width": 730,
    "rotate": 30,
    "scale": [0.85, 1.15],
}
"""of the configuration, as published; pictures have three sizes"""
SPLITS = {"train": "train", "val": "test"}
"""The authors compare on val, so nothing may be chosen on it."""
_AXES = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
"""right, forward, up -> right, down, forward"""


def prepare(source: Path, out: Path, *, boxes: Literal["v1", "v2"] = "v1", points: int = 50_000) -> Path:
    """Writes clouds, cameras, boxes, a manifest with the authors' splits (val is test here), and detect.yaml; pictures
    stay in place.

    The world is x right, y forward, z up. Files hold half sizes, and yaw clockwise; what is written is whole sizes,
    and counter-clockwise. `boxes`: label_v1, on which papers compare, or label, the later ones. `points`: most of a
    cloud. A scene with a file that cannot be read is in skipped.jsonl.
    """
    if points < 1:
        raise ValueError(f"sunrgbd3d: points is {points}, expected 1 or more")
    scenes = list(_votes(source, boxes)) or list(_raw(source, boxes))
    folder = source / "sunrgbd_trainval" if (source / "sunrgbd_trainval").is_dir() else source
    rows, skips, blind = [], [], 0
    for split, id, cloud, known in watched(scenes, "writing clouds"):
        try:
            with one_file(id):
                shots = _shots(folder, id)
                cells = write_scene(out, id, _points(cloud), _boxes(known), shots, most=points, seed=int(id))
        except Unusable as error:
            skips.append(Skip(id, "", str(error), error.trace))
            continue
        blind += not shots
        rows.append({"id": id, "split": SPLITS[split], "rgb": refer(shots[0].picture, out) if shots else "", **cells})
    if blind:
        log.warning("sunrgbd3d: %d of %d scenes have no picture or calibration in %s", blind, len(rows), folder)
    return finish_clouds("sunrgbd3d", out, rows, skips, points=POINTS)


Scene = tuple[str, str, Path, Path]
"""split, id, file of points, file of boxes"""


def _votes(source: Path, boxes: str) -> Iterator[Scene]:
    """Those of the folders that VoteNet writes."""
    for split in SPLITS:
        folder = source / f"sunrgbd_pc_bbox_votes_50k_{boxes}_{split}"
        for cloud in sorted(folder.glob("*_pc.npz")):
            id = cloud.name.removesuffix("_pc.npz")
            yield split, id, cloud, folder / f"{id}_bbox.npy"


def _raw(source: Path, boxes: str) -> Iterator[Scene]:
    """Those of sunrgbd_trainval, inside `source` or `source` itself."""
    inside = "sunrgbd_trainval/" if (source / "sunrgbd_trainval").is_dir() else ""
    labels = {"v1": "label_v1", "v2": "label"}[boxes]
    names = [f"{inside}{split}_data_idx.txt" for split in SPLITS]
    *lists, clouds, known = demand("sunrgbd3d", source, *names, f"{inside}depth", f"{inside}{labels}")
    for split, path in zip(SPLITS, lists, strict=True):
        for (number,) in read_numbers(path, 1):
            id = f"{int(number):06d}"
            yield split, id, clouds / f"{id}.mat", known / f"{id}.txt"


def _points(path: Path) -> np.ndarray:
    """(N, 6) metres, and colors from 0 to 255; they are stored from 0 to 1."""
    key = "instance" if path.suffix == ".mat" else "pc"
    values = load(f"{path.name}#{key}", path.parent)
    if values.ndim != 2 or values.shape[1] != 6:
        raise Unusable(f"{path}: {key} is {values.shape}; expected (points, 6)")
    return values * np.array([1, 1, 1, 255, 255, 255])


def _boxes(path: Path) -> list[Box]:
    return _of_lines(path) if path.suffix == ".txt" else _of_array(path)


def _of_array(path: Path) -> list[Box]:
    """A row: centre, half sizes, yaw clockwise, number of a class."""
    values = load(path.name, path.parent)
    if values.ndim != 2 or values.shape[1] != 8 or not set(values[:, 7].tolist()) <= set(range(len(CLASSES))):
        what = f"is {values.shape}, or has a class that is not 0 to {len(CLASSES) - 1}"
        raise Unusable(f"{path}: {what}; expected (boxes, 8)")
    return [Box(CLASSES[int(row[7])], row[:3].tolist(), (2 * row[3:6]).tolist(), -float(row[6])) for row in values]


def _of_lines(path: Path) -> list[Box]:
    """A line: class, a box in the picture (4), centre (3), half of width, length and height, direction of the length
    (2), and more."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{path}: cannot be read ({error})") from error
    boxes = []
    for number, line in enumerate(lines, 1):
        name, _, rest = line.strip().partition(" ")
        if name not in CLASSES:
            continue  # one of some 800 that are not compared
        try:
            values = [float(cell) for cell in rest.split()]
            width, length, height, along, across = values[7:12]
        except ValueError as error:
            raise Unusable(f"{path}, line {number}: expected a class and 12 numbers or more ({error})") from error
        yaw = math.atan2(across, along)
        boxes.append(Box(name, values[4:7], (2 * length, 2 * width, 2 * height), yaw))
    return boxes


def _shots(folder: Path, id: str) -> list[Shot]:
    """The picture, if it is there with its calibration: two lines of nine numbers, column by column: from upright to
    the camera's own axes, transposed; and the camera's matrix, which counts pixels from 1."""
    picture, calib = folder / "image" / f"{id}.jpg", folder / "calib" / f"{id}.txt"
    if not picture.is_file() or not calib.is_file():
        return []
    rows = read_numbers(calib, 9)
    if len(rows) != 2:
        raise Unusable(f"{calib}: has {len(rows)} lines, expected 2 of 9 numbers")
    tilt, K = (np.array(row).reshape(3, 3, order="F") for row in rows)
    K[:2] -= K[2]  # pixels from 0
    pose = np.eye(4)
    pose[:3, :3] = tilt @ _AXES.T
    return [Shot(picture, K, pose)]
