"""ScanNet v2 for detection: 1,513 rooms as colored points, with boxes of 18 classes, and pictures with their cameras.

Dai et al., ScanNet: richly-annotated 3D reconstructions of indoor scenes, 2017, as VoteNet (Qi et al. 2019) or
MMDetection3D unpack it. Layout: a folder scannet_train_detection_data/ or scannet_instance_data/ with <scan>_vert.npy
and <scan>_bbox.npy, or <scan>_aligned_bbox.npy and <scan>_axis_align_matrix.npy; meta_data/scannetv2_train.txt and
scannetv2_val.txt; for pictures posed_images/<scan>/ (00000.jpg, 00000.txt, intrinsic.txt) or
scannet_frames_25k/<scan>/ (color/*.jpg, pose/*.txt, intrinsics_color.txt), with scans/<scan>/<scan>.txt beside it.
"""

import logging
import zlib
from pathlib import Path

import numpy as np

from sparsefuse.data.arrays import load
from sparsefuse.data.formats import demand, demand_names
from sparsefuse.data.formats._clouds import Box, Shot, finish_clouds, read_numbers, write_scene
from sparsefuse.data.formats._media import refer
from sparsefuse.data.prepare import watched
from sparsefuse.files.skipped import Skip, Unusable, one_file

log = logging.getLogger(__name__)

CLASSES = {
    3: "cabinet", 4: "bed", 5: "chair", 6: "sofa", 7: "table", 8: "door", 9: "window", 10: "bookshelf", 11: "picture",
    12: "counter", 14: "desk", 16: "curtain", 24: "refrigerator", 28: "showercurtain", 33: "toilet", 34: "sink",
    36: "bathtub", 39: "garbagebin",
}  # fmt: skip
"""number among the 40 classes of NYU -> name"""
POINTS = {"classes": list(CLASSES.values()), "num_points": 50_000, "height": 480, "width": 640, "rotate": 5}
"""of the configuration, as published, but for the size of pictures"""
SPLITS = {"train": "train", "val": "test"}
"""The authors compare on val, so nothing may be chosen on it."""
ALIGNMENT = "axisAlignment = "


def prepare(source: Path, out: Path, *, frames: int = 10, points: int = 50_000) -> Path:
    """Writes clouds, cameras, boxes, a manifest with the authors' splits (val is test here), and detect.yaml; pictures
    stay in place.

    Boxes are those of the axes of the room: all have yaw 0, as published. `frames`: most pictures of a room, evenly
    apart in its film; 0 = none. `points`: most of a cloud. A room with a file that cannot be read is in skipped.jsonl.
    """
    if points < 1 or frames < 0:
        raise ValueError(f"scannet: points is {points} and frames {frames}; expected 1 and 0 or more")
    folder = next((path for path in _places(source) if any(path.glob("*_vert.npy"))), None)
    if folder is None:
        demand("scannet", source, "scannet_train_detection_data/*_vert.npy")
        raise AssertionError("the pattern is that of a place")
    lists = demand("scannet", source, *(f"meta_data/scannetv2_{split}.txt" for split in SPLITS))
    rows, skips = [], []
    scans = [(split, id) for split, path in zip(SPLITS, lists, strict=True) for id in _names(path)]
    for split, id in watched(scans, "writing clouds"):
        try:
            with one_file(id):
                shots = _shots(source, folder, id, frames) if frames else []
                cells = write_scene(
                    out, id, _points(folder, id), _boxes(folder, id), shots, most=points, seed=zlib.crc32(id.encode())
                )
        except Unusable as error:
            skips.append(Skip(id, "", str(error), error.trace))
            continue
        rows.append({"id": id, "split": SPLITS[split], "rgb": refer(shots[0].picture, out) if shots else "", **cells})
    blind = sum(not row["cameras"] for row in rows)
    if blind and frames:
        log.warning("scannet: %d of %d rooms have no pictures in posed_images or scannet_frames_25k", blind, len(rows))
    return finish_clouds("scannet", out, rows, skips, points=POINTS)


def _places(source: Path) -> list[Path]:
    return [source / "scannet_train_detection_data", source / "scannet_instance_data", source]


def _names(path: Path) -> list[str]:
    names = path.read_text(encoding="utf-8").split()
    demand_names(path, names)
    return names


def _points(folder: Path, id: str) -> np.ndarray:
    """(N, 6) in the room's axes. VoteNet has turned them there; MMDetection3D stores the matrix beside them."""
    values = load(f"{id}_vert.npy", folder)
    if values.ndim != 2 or values.shape[1] != 6:
        raise Unusable(f"{id}_vert.npy is {values.shape}; expected (points, 6)")
    if (turn := _stored(folder, id)) is not None:
        values = np.concatenate([values[:, :3] @ turn[:3, :3].T + turn[:3, 3], values[:, 3:]], 1)
    return values


def _boxes(folder: Path, id: str) -> list[Box]:
    """Of those that have a class of the 18: centre, whole sizes, number of a class."""
    name = f"{id}_{'bbox' if _stored(folder, id) is None else 'aligned_bbox'}.npy"
    values = load(name, folder)
    if values.ndim != 2 or values.shape[1] != 7:
        raise Unusable(f"{name} is {values.shape}; expected (boxes, 7)")
    return [
        Box(CLASSES[int(row[6])], row[:3].tolist(), row[3:6].tolist(), 0.0) for row in values if int(row[6]) in CLASSES
    ]


def _stored(folder: Path, id: str) -> np.ndarray | None:
    """(4, 4) scan -> room, where vertices are not turned."""
    name = f"{id}_axis_align_matrix.npy"
    return _matrix(load(name, folder), name) if (folder / name).is_file() else None


def _alignment(source: Path, folder: Path, id: str) -> np.ndarray:
    """(4, 4) scan -> room."""
    if (stored := _stored(folder, id)) is not None:
        return stored
    path = source / "scans" / id / f"{id}.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        if line.strip().startswith(ALIGNMENT.strip()):
            return _matrix(np.array([float(cell) for cell in line.partition("=")[2].split()]), str(path))
    raise Unusable(f"{path} has no line {ALIGNMENT!r}, so its cameras cannot be placed; options.frames=0 goes without")


def _matrix(values: np.ndarray, where: str) -> np.ndarray:
    if values.size != 16:
        raise Unusable(f"{where}: has {values.size} numbers, expected a matrix of 16")
    return values.reshape(4, 4).astype(np.float64)


def _shots(source: Path, folder: Path, id: str, count: int) -> list[Shot]:
    """Pictures whose camera is known: where tracking was lost, its pose is not finite."""
    posed, few = source / "posed_images" / id, source / "scannet_frames_25k" / id
    if posed.is_dir():
        pictures, poses, intrinsic = sorted(posed.glob("*.jpg")), posed, posed / "intrinsic.txt"
    elif few.is_dir():
        pictures, poses, intrinsic = sorted((few / "color").glob("*.jpg")), few / "pose", few / "intrinsics_color.txt"
    else:
        return []
    turn = _alignment(source, folder, id)
    K = np.array(read_numbers(intrinsic))
    if K.shape not in ((3, 3), (4, 4)):
        raise Unusable(f"{intrinsic}: is {K.shape}, expected 4 lines of 4 numbers")
    found = []
    for picture in pictures:
        pose = _matrix(np.array(read_numbers(poses / f"{picture.stem}.txt", 4)), str(poses / f"{picture.stem}.txt"))
        if np.isfinite(pose).all():
            found.append(Shot(picture, K[:3, :3], turn @ pose))
    places = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    return [found[place] for place in places]
