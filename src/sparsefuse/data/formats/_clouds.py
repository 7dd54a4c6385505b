"""What recipes of point clouds share: a scene's files as `generate rooms --clouds` writes them, and the end."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.data.formats._finish import finish
from sparsefuse.data.formats._media import refer
from sparsefuse.files.skipped import Skip, Unusable
from sparsefuse.files.whole import replacing, write_text
from sparsefuse.media.still import read_still

log = logging.getLogger(__name__)


class Box(NamedTuple):
    """An object that stands upright."""

    label: str
    centre: Sequence[float]
    """x, y, z in metres"""
    size: Sequence[float]
    """the whole lengths along its own x, y, z"""
    yaw: float
    """radians about z, counter-clockwise seen from above"""


class Shot(NamedTuple):
    """A picture, and where it was taken."""

    picture: Path
    K: np.ndarray
    """(3, 3) right, down, forward -> column, row and 1, times depth; the centre of the first pixel is (0, 0)"""
    pose: np.ndarray
    """(4, 4) camera to world"""


def write_scene(
    out: Path, id: str, points: np.ndarray, boxes: Sequence[Box], shots: Sequence[Shot], *, most: int, seed: int
) -> dict[str, str]:
    """Writes the files of a scene; returns its cells. `points`: (N, 6) metres and red, green, blue from 0 to 255, of
    which `most` are kept, drawn by `seed`. Raises Unusable."""
    _check(points, boxes, shots)
    if len(points) > most:
        points = points[np.sort(np.random.default_rng(seed).choice(len(points), most, replace=False))]
    with replacing(out / f"cloud/{id}.npz", durable=False) as temporary:
        colors = points[:, 3:].round().clip(0, 255).astype(np.uint8)
        np.savez(temporary, xyz=points[:, :3].astype(np.float32), rgb=colors)
    _write_line(out / f"boxes/{id}.json", [
        {"class": box.label, "centre": _floats(box.centre), "size": _floats(box.size), "yaw": float(box.yaw)}
        for box in boxes
    ])  # fmt: skip
    cells = {"cloud": f"cloud/{id}.npz", "boxes": f"boxes/{id}.json", "cameras": ""}
    if shots:
        _write_line(out / f"cameras/{id}.json", [_camera(shot, out) for shot in shots])
        cells["cameras"] = f"cameras/{id}.json"
    return cells


def _check(points: np.ndarray, boxes: Sequence[Box], shots: Sequence[Shot]) -> None:
    if points.ndim != 2 or points.shape[1] != 6 or not len(points):
        raise Unusable(f"its points are {points.shape}; expected (points, 6): x, y, z, red, green, blue")
    if not np.isfinite(points).all():
        raise Unusable(f"{int((~np.isfinite(points).all(1)).sum())} of its points are not finite")
    for i, box in enumerate(boxes):
        numbers = [*box.centre, *box.size, box.yaw]
        if not all(map(math.isfinite, numbers)) or min(box.size) <= 0:
            raise Unusable(f"box {i}, {box.label}, has centre, size, yaw {numbers}; expected finite, sizes above 0")
    for shot in shots:
        if not (np.isfinite(shot.K).all() and np.isfinite(shot.pose).all()):
            raise Unusable(f"the camera of {shot.picture.name} is not finite")


def _camera(shot: Shot, out: Path) -> dict[str, Any]:
    size = read_still(shot.picture).values.shape[:2]
    return {
        "picture": refer(shot.picture, out),
        "size": list(size),
        "K": shot.K.astype(float).tolist(),
        "pose": shot.pose.astype(float).tolist(),
    }


def _floats(values: Sequence[float]) -> list[float]:
    return [float(value) for value in values]


def _write_line(path: Path, value: object) -> None:
    with replacing(path, durable=False) as temporary:
        temporary.write_text(json.dumps(value) + "\n", encoding="utf-8")


def read_numbers(path: Path, count: int | None = None) -> list[list[float]]:
    """The lines of numbers of a text file, empty ones left out. Raises Unusable, also for a line of other than `count`
    numbers."""
    try:
        rows = [[float(cell) for cell in line.split()] for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise Unusable(f"{path}: cannot be read as lines of numbers ({error})") from error
    rows = [row for row in rows if row]
    if count is not None and any(len(row) != count for row in rows):
        raise Unusable(f"{path}: has lines of {sorted({len(row) for row in rows})} numbers, expected {count}")
    return rows


def finish_clouds(
    name: str, out: Path, rows: list[dict[str, str]], skips: list[Skip], *, points: Mapping[str, Any]
) -> Path:
    """Writes the manifest, skipped.jsonl and detect.yaml; returns the manifest. `points`: of the configuration."""
    import yaml

    rows = [{column: cell for column, cell in row.items() if any(each[column] for each in rows)} for row in rows]
    manifest = finish(out, [], rows, skips, f"the scenes of {name}")
    data = {"manifest": manifest.name, "task": "detect"}
    tree = {"data": data, "points": {**points, "channels": ["height"], "flip": 0.5}, "method": "tokenfusion"}
    head = f"# Made by `sparsefuse prepare {name}`. sparsefuse train detect.yaml --out runs/{name}\n"
    write_text(out / "detect.yaml", head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    log.info("%s: train on %s", name, out / "detect.yaml")
    return manifest
