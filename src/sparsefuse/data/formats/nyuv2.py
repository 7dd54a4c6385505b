"""NYU Depth v2: 1,449 rooms in colour and depth, each pixel labelled; as its .mat file, or as folders of pictures.

Silberman et al., Indoor segmentation and support inference from RGBD images, 2012; 40 classes: Gupta et al., 2013.
Layout: nyu_depth_v2_labeled.mat (MATLAB 7.3: images, depths, labels) and splits.mat (trainNdxs, testNdxs), for 40
classes classMapping40.mat (mapClass); or folders RGB/ Depth/ Label/ (in any case, also masks/) with train.txt and
test.txt or val.txt.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from sparsefuse.data.formats import demand
from sparsefuse.data.formats._scenes import (
    Sample,
    finish_scenes,
    first,
    folders,
    label_folder,
    named,
    rows_of,
    without_answers,
)
from sparsefuse.data.hdf5 import open_hdf5, read_dataset
from sparsefuse.data.matlab import read_mat
from sparsefuse.data.pixels.read import read_labels, read_raw
from sparsefuse.data.prepare import watched
from sparsefuse.errors import unknown
from sparsefuse.files.skipped import Skip, Unusable
from sparsefuse.media.png import write_png
from sparsefuse.shown import said

log = logging.getLogger(__name__)

MAT = "nyu_depth_v2_labeled.mat"
CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "refridgerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand",
    "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip
IGNORED, IGNORED_16 = 255, 65535
"""numbers of pixels without a class, in pictures of 8 and of 16 bits"""


def prepare(source: Path, out: Path, *, depth: Literal["filled", "raw"] = "filled", unit: float = 0.0) -> Path:
    """Writes a manifest with the splits of the authors, and segment.yaml.

    Of the .mat file, pictures are written: rgb, depth (16 bits, mm; `depth`: filled, or raw with holes) and label.
    Numbers of classes begin at 0, and 255 is no class; without classMapping40.mat labels are the 894 names' numbers
    less 1, and 65535 none. Folders stay in place, but label pictures of 1 to 40 and 0 are written anew. `unit`: metres
    of a step of a folder's depth, 0 = 0.001; depth that was stretched to 8 bits is taken as gray.
    """
    if (source / MAT).is_file():
        return _from_mat(source, out, depth)
    if not any(path.is_dir() for path in source.iterdir()):
        demand("nyuv2", source, MAT, "splits.mat")
    return _from_folders(source, out, unit)


def _from_mat(source: Path, out: Path, depth: str) -> Path:
    _, splits = demand("nyuv2", source, MAT, "splits.mat")
    of = _splits(splits)
    mapping = _mapping(source)
    array = "depths" if depth == "filled" else "rawDepths"
    rows, skips = [], []
    try:
        with open_hdf5(source / MAT) as file:
            for name in ("images", array, "labels"):
                if name not in file:
                    raise ValueError(f"{source / MAT}: {unknown('array', name, file)}")
            for i in watched(range(len(cast(Any, file["labels"]))), "writing pictures"):
                id = f"{i + 1:04d}"
                try:
                    arrays = {name: read_dataset(file[name], i) for name in ("images", array, "labels")}
                    files = _write(out, id, arrays["images"], arrays[array], arrays["labels"], mapping)
                except Unusable as error:
                    skips.append(Skip(id, "", str(error)))
                    continue
                rows.append({"id": id, "split": of.get(i + 1, ""), **files})
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{source / MAT}: cannot be read, truncated or not MATLAB 7.3 ({said(error)})") from error
    if lost := [row for row in rows if not row["split"]]:
        skips += [Skip(row["id"], "", "splits.mat does not name it") for row in lost]
        rows = [row for row in rows if row["split"]]
    streams = {"depth": {"kind": "depth", "unit": 0.001}}
    more: dict[str, Any] = {"classes": list(CLASSES)} if mapping is not None else {"ignore": IGNORED_16}
    return finish_scenes("nyuv2", out, rows, skips, label="label", streams=streams, more=more)


def _splits(path: Path) -> dict[int, str]:
    """Number of a picture, from 1 -> split."""
    arrays = read_mat(path)
    for name in ("trainNdxs", "testNdxs"):
        if name not in arrays:
            raise ValueError(f"{path}: {unknown('array', name, arrays)}")
    return {int(i): split for split in ("train", "test") for i in arrays[f"{split}Ndxs"].ravel()}


def _mapping(source: Path) -> np.ndarray | None:
    """(894,) class, from 1, of each number of a name, from 1; 0 = none."""
    path = source / "classMapping40.mat"
    if not path.is_file():
        log.warning(
            "nyuv2: %s has no classMapping40.mat, so labels are numbers of 894 names, not of 40 classes", source
        )
        return None
    arrays = read_mat(path)
    if "mapClass" not in arrays:
        raise ValueError(f"{path}: {unknown('array', 'mapClass', arrays)}")
    return arrays["mapClass"].ravel().astype(np.int64)


def _write(
    out: Path, id: str, image: np.ndarray, depth: np.ndarray, label: np.ndarray, mapping: np.ndarray | None
) -> dict[str, str]:
    """Arrays as HDF5 has them, columns first. Returns the cells of the row."""
    if (
        image.ndim != 3
        or len(image) != 3
        or image.dtype != np.uint8
        or not depth.shape == label.shape == image.shape[1:]
    ):
        got = f"images {image.dtype} {image.shape}, depths {depth.shape}, labels {label.shape}"
        raise Unusable(f"{got}; expected (3, W, H) uint8 and twice (W, H)")
    numbers = label.T.astype(np.int64)
    if mapping is None:
        numbers = np.where(numbers == 0, IGNORED_16, numbers - 1).astype(np.uint16)
    elif numbers.max(initial=0) > len(mapping):
        raise Unusable(f"labels hold {numbers.max()}, classMapping40.mat has {len(mapping)} names")
    else:
        classes = np.concatenate([[0], mapping])[numbers]
        numbers = np.where(classes == 0, IGNORED, classes - 1).astype(np.uint8)
    metres = depth.T.astype(np.float64)
    mm = np.where(np.isfinite(metres), np.round(metres * 1000), 0).clip(0, 65535).astype(np.uint16)
    cells = {}
    for name, values in {"rgb": image.transpose(2, 1, 0), "depth": mm, "label": numbers}.items():
        write_png(out / name / f"{id}.png", values)
        cells[name] = f"{name}/{id}.png"
    return cells


def _from_folders(source: Path, out: Path, unit: float) -> Path:
    samples = folders("nyuv2", source, out)
    label = label_folder("nyuv2", source, samples.values())
    samples = without_answers("nyuv2", samples, label)
    numbers, count = _renumbered(samples, label, out)
    rows, skips = rows_of(samples, label, out, fixed=numbers)
    streams: dict[str, dict[str, Any]] = {}
    if (path := first(samples.values(), "depth")) is not None:
        coarse = read_raw(path).bits <= 8 and not unit
        streams["depth"] = {"kind": "gray"} if coarse else {"kind": "depth", "unit": unit or 0.001}
        if coarse:
            log.warning("nyuv2: depth has 8 bits, so it was stretched and is no distance: it is read as a gray picture")
    more = {"classes": named(CLASSES, count)}
    return finish_scenes("nyuv2", out, rows, skips, label=label, streams=streams, more=more)


def _renumbered(samples: Mapping[str, Sample], label: str, out: Path) -> tuple[dict[str, dict[str, str]], int]:
    """Label pictures of 1 to 40, with 0 for none, as 0 to 39 and 255: id -> cell; and how many classes there are."""
    labels = {}
    for id, sample in watched(list(samples.items()), "reading labels"):
        if label in sample.files:
            try:
                labels[id] = read_labels(sample.files[label]).numpy()
            except Unusable:
                continue  # training says why
    top = max((int(values[values != IGNORED].max(initial=-1)) for values in labels.values()), default=-1)
    if top != len(CLASSES):
        return {}, top + 1
    log.warning("nyuv2: labels are 1 to 40, 0 for none; they are written to %s as 0 to 39, 255 for none", out / label)
    cells = {}
    for id, values in labels.items():
        shifted = np.where((values == 0) | (values == IGNORED), IGNORED, values - 1).astype(np.uint8)
        write_png(out / label / f"{id}.png", shifted)
        cells[id] = {label: f"{label}/{id}.png"}
    return cells, top
