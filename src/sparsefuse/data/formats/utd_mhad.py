"""UTD-MHAD: 27 actions seen by an inertial sensor, a skeleton tracker and a depth camera; groups are subjects.

Chen et al., UTD-MHAD: a multimodal dataset for human action recognition utilizing a depth camera and a wearable
inertial sensor, 2015. Layout: labels.csv (key, action, subject), inertial/<key>_inertial.mat,
skeleton/<key>_skeleton.mat, depth30x40.npz (key -> (T, 30, 40) uint16 mm).
"""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from sparsefuse.data.arrays import load
from sparsefuse.data.formats import demand, demand_columns, demand_names
from sparsefuse.files.rows import write_table
from sparsefuse.files.skipped import Skip, Unusable, write_skipped
from sparsefuse.files.whole import replacing

log = logging.getLogger(__name__)

HIP_CENTRE = 3
"""Row of the joint in Skeleton_joint_order.txt, counted from 0."""

STANDING = 5
"""Frames at the start that show the person standing still."""
SIDE = 20
"""Points along each side of the box around the person."""
BOX, HEADROOM = 1.3, 0.25
"""Side of the box, and how far it reaches above the head, in heights of the person: raised arms must fit."""


def prepare(source: Path, out: Path) -> Path:
    """Writes one .npy per recording and modality, skipped.jsonl for those that cannot be read, and the manifest.

    Beside it four-streams.csv, whose rows have the inertial sensor's two halves as modalities of their own.
    """
    (labels,) = demand("utd_mhad", source, "labels.csv")
    rows, skips = [], []
    table = demand_columns(labels, "key", "action", "subject")
    demand_names(labels, (cells["key"] for cells in table))
    for cells in table:
        key = cells["key"]
        row = {"id": key}
        for name, (ref, convert) in _SOURCES.items():
            row[name] = f"{name}/{key}.npy"
            try:
                values = convert(load(ref.format(key=key), source))
            except Unusable as error:
                skips.append(Skip(key, name, str(error)))
                row[name] = ""
                continue
            with replacing(out / row[name], durable=False) as path:
                np.save(path, values)
        rows.append(row | {"label": cells["action"], "group": cells["subject"]})
    write_skipped(out / "skipped.jsonl", skips)
    if skips:
        log.warning("%d of %d files could not be read: see %s", len(skips), 3 * len(rows), out / "skipped.jsonl")
    write_table(out / "four-streams.csv", [_halved(row) for row in rows])
    return write_table(out / "manifest.csv", rows)


def _halved(row: dict[str, str]) -> dict[str, str]:
    """The row with `accelerometer` and `gyroscope` in place of `inertial`."""
    ref = row["inertial"]
    halves = {"accelerometer": ref and f"{ref}#0:3", "gyroscope": ref and f"{ref}#3:6"}
    return halves | {name: cell for name, cell in row.items() if name != "inertial"}


def inertial(values: np.ndarray) -> np.ndarray:
    """(T, 6) acceleration in g and rotation in degrees per second, as stored."""
    return _demand_shape(values, "(T, 6)", values.ndim == 2 and values.shape[1] == 6).astype(np.float32)


def skeleton(values: np.ndarray) -> np.ndarray:
    """(20, 3, T) metres in the room -> (T, 60) relative to the hip centre, in units of the person's own size.

    The size is the mean distance of the joints from the hip centre. The hip centre's own three features would be 0:
    they hold its movement since the first frame instead.
    """
    joints = _demand_shape(values, "(20, 3, T)", values.shape[:2] == (20, 3) and values.ndim == 3).transpose(2, 0, 1)
    hip = joints[:, HIP_CENTRE]
    centred = joints - hip[:, None]
    size = np.linalg.norm(np.delete(centred, HIP_CENTRE, 1), axis=2).mean()
    centred[:, HIP_CENTRE] = hip - hip[:1]
    return (centred.reshape(len(joints), 60) / max(size, 1e-6)).astype(np.float32)


def depth(values: np.ndarray) -> np.ndarray:
    """(T, 30, 40) millimetres, 0 = background -> (T, 400): 20 x 20 points of a box around the person.

    The box is found once, where the person stands at the start, and scales with the person's height: what subjects
    share is how they move, not where they stand and how tall they are. Values are 1 + metres in front of the body's
    middle; 0 is background.
    """
    frames = torch.from_numpy(_demand_shape(values, "(T, 30, 40)", values.shape[1:] == (30, 40)) / np.float32(1000))
    there = frames > 0
    standing = there[:STANDING]
    if not standing.any():
        raise Unusable(f"shows nobody in its first {STANDING} frames")
    middle = frames[:STANDING][standing].median()
    rows, columns = standing.any(0).nonzero().float().unbind(1)
    top = rows.quantile(0.01)  # not the minimum: single wrong pixels occur
    height = rows.max() - top + 1
    grid = torch.linspace(-1, 1, SIDE + 1)
    centres = BOX * height * (grid[:-1] + grid[1:]) / 4  # of the points, from the middle of the box
    down = top + (BOX / 2 - HEADROOM) * height + centres
    across = columns.median() + centres
    # grid_sample counts from -1 to 1, edge to edge.
    box = torch.stack(torch.meshgrid((2 * across + 1) / 40 - 1, (2 * down + 1) / 30 - 1, indexing="xy"), -1)
    near = torch.where(there, 1 + middle - frames, 0)[:, None]
    points = functional.grid_sample(near, box.expand(len(near), -1, -1, -1), align_corners=False)
    return points.flatten(1).numpy()


_SOURCES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "depth": ("depth30x40.npz#{key}", depth),
    "inertial": ("inertial/{key}_inertial.mat#d_iner", inertial),
    "skeleton": ("skeleton/{key}_skeleton.mat#d_skel", skeleton),
}


def _demand_shape(values: np.ndarray, expected: str, fits: bool) -> np.ndarray:
    if not fits:
        raise Unusable(f"has shape {values.shape}, expected {expected}")
    return values
