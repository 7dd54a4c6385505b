"""UTD-MHAD: 27 actions seen by an inertial sensor, a skeleton tracker and a depth camera; groups are subjects.

Chen et al., UTD-MHAD: a multimodal dataset for human action recognition utilizing a depth camera and a wearable
inertial sensor, 2015. Layout: labels.csv (key, action, subject), inertial/<key>_inertial.mat,
skeleton/<key>_skeleton.mat, depth30x40.npz (key -> (T, 30, 40) uint16 mm).
"""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sparsefuse.data.arrays import load
from sparsefuse.data.formats import demand, demand_columns, demand_names
from sparsefuse.files import replacing
from sparsefuse.skipped import Skip, Unusable, write_skipped
from sparsefuse.table import write_table

log = logging.getLogger(__name__)

HIP_CENTRE = 3
"""Row of the joint in Skeleton_joint_order.txt, counted from 0."""


def prepare(source: Path, out: Path) -> Path:
    """Writes one .npy per recording and modality, skipped.jsonl for those that cannot be read, and the manifest."""
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
            with replacing(out / row[name]) as path:
                np.save(path, values)
        rows.append(row | {"label": cells["action"], "group": cells["subject"]})
    write_skipped(out / "skipped.jsonl", skips)
    if skips:
        log.warning("%d of %d files could not be read: see %s", len(skips), 3 * len(rows), out / "skipped.jsonl")
    return write_table(out / "manifest.csv", rows)


def inertial(values: np.ndarray) -> np.ndarray:
    """(T, 6) acceleration in g and rotation in degrees per second, as stored."""
    return _demand_shape(values, "(T, 6)", values.ndim == 2 and values.shape[1] == 6).astype(np.float32)


def skeleton(values: np.ndarray) -> np.ndarray:
    """(20, 3, T) metres in the room -> (T, 60) relative to the hip centre, wherever the person stands.

    The hip centre's own three features would be 0: they hold its movement since the first frame instead.
    """
    joints = _demand_shape(values, "(20, 3, T)", values.shape[:2] == (20, 3) and values.ndim == 3).transpose(2, 0, 1)
    hip = joints[:, HIP_CENTRE]
    centred = joints - hip[:, None]
    centred[:, HIP_CENTRE] = hip - hip[:1]
    return centred.reshape(len(joints), 60).astype(np.float32)


def depth(values: np.ndarray) -> np.ndarray:
    """(T, 30, 40) millimetres -> (T, 1200) metres; 0 is background, as stored."""
    frames = _demand_shape(values, "(T, 30, 40)", values.shape[1:] == (30, 40))
    return frames.reshape(len(frames), 1200).astype(np.float32) / 1000


_SOURCES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "depth": ("depth30x40.npz#{key}", depth),
    "inertial": ("inertial/{key}_inertial.mat#d_iner", inertial),
    "skeleton": ("skeleton/{key}_skeleton.mat#d_skel", skeleton),
}


def _demand_shape(values: np.ndarray, expected: str, fits: bool) -> np.ndarray:
    if not fits:
        raise Unusable(f"has shape {values.shape}, expected {expected}")
    return values
