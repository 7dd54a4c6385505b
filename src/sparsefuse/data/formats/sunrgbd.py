"""SUN RGB-D: 10,335 rooms of four sensors in colour and depth, each pixel labelled with one of 37 classes.

Song et al., SUN RGB-D: a RGB-D scene understanding benchmark suite, 2015. Layout: SUNRGBD/<sensor>/.../<scene>/ with
image/*.jpg, depth/*.png, depth_bfx/*.png; SUNRGBDtoolbox/Metadata/ with SUNRGBDMeta.mat and SUNRGBD2Dseg.mat;
SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat.
"""

import re
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sparsefuse.data.formats import demand
from sparsefuse.data.formats._media import refer
from sparsefuse.data.formats._scenes import finish_scenes
from sparsefuse.data.hdf5 import open_hdf5, read_dataset
from sparsefuse.data.matlab import read_texts
from sparsefuse.data.prepare import watched
from sparsefuse.errors import unknown
from sparsefuse.files.skipped import Skip, Unusable, one_file
from sparsefuse.media.png import write_png
from sparsefuse.media.still import read_still
from sparsefuse.shown import said

CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "fridge", "tv", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink",
    "lamp", "bathtub", "bag",
)  # fmt: skip
IGNORED = 255
_IMAGE = re.compile(r".*SUNRGBD/(?P<scene>[^\0]+)/image/(?P<file>[^/\0]+)")


def prepare(source: Path, out: Path, *, depth: Literal["filled", "raw"] = "filled") -> Path:
    """Writes a manifest with the authors' splits, depth and label pictures, and segment.yaml; colours stay in place.

    Depth is stored with its bits rotated by three; it is written as 16 bits in mm. `depth`: filled is depth_bfx, raw
    depth, with holes. Labels 1 to 37 are written as 0 to 36, none as 255. A scene with a file that is missing or of
    another size than its labels is in skipped.jsonl.
    """
    folder, meta, seg, split = demand(
        "sunrgbd",
        source,
        "SUNRGBD",
        "SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat",
        "SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat",
        "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat",
    )
    scenes = [(match["scene"], match["file"]) for text in _of(meta, "SUNRGBDMeta") if (match := _IMAGE.fullmatch(text))]
    splits = {
        text.rpartition("SUNRGBD/")[2].strip("/"): name
        for name, variable in (("train", "alltrain"), ("test", "alltest"))
        for text in _of(split, variable)
    }
    rows, skips = [], []
    try:
        with open_hdf5(seg) as file:
            group: Any = file.get("SUNRGBD2Dseg")
            if group is None or "seglabel" not in group:
                raise ValueError(f"{seg}: holds {', '.join(file)[:60]}; expected SUNRGBD2Dseg/seglabel")
            labels = group["seglabel"]
            if len(labels) != len(scenes):
                raise ValueError(f"{seg} has {len(labels)} label pictures, {meta.name} {len(scenes)} scenes")
            for i, (scene, picture) in enumerate(watched(scenes, "writing pictures")):
                id = scene.replace("/", "_")
                try:
                    with one_file(id):
                        values = read_dataset(file[labels[i][0]])
                        row = _row(
                            folder / scene, picture, "depth_bfx" if depth == "filled" else "depth", values, out, id
                        )
                except Unusable as error:
                    skips.append(Skip(id, "", str(error), error.trace))
                    continue
                if scene in splits:
                    rows.append({"id": id, "split": splits[scene], **row})
                else:
                    skips.append(Skip(id, "", "allsplit.mat does not name it"))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{seg}: cannot be read, truncated or not MATLAB 7.3 ({said(error)})") from error
    streams = {"depth": {"kind": "depth", "unit": 0.001}}
    return finish_scenes("sunrgbd", out, rows, skips, label="label", streams=streams, more={"classes": list(CLASSES)})


def _of(path: Path, variable: str) -> list[str]:
    try:
        texts = read_texts(path)
    except (ValueError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read, truncated or not MATLAB 5 to 7.2 ({said(error)})") from error
    if variable not in texts:
        raise ValueError(f"{path}: {unknown('variable', variable, texts)}")
    return texts[variable]


def _row(scene: Path, picture: str, depth: str, labels: np.ndarray, out: Path, id: str) -> dict[str, str]:
    """Writes depth and labels, (W, H) as HDF5 has them; returns the cells. Raises Unusable."""
    image = scene / "image" / picture
    stored = next(iter(sorted((scene / depth).glob("*.png"))), None)
    if not image.is_file() or stored is None:
        raise Unusable(f"{scene} has no {f'image/{picture}' if stored else f'{depth}/*.png'}")
    rotated = read_still(stored)
    numbers = labels.T.astype(np.int64)
    if rotated.bits != 16 or rotated.values.shape != (*numbers.shape, 1):
        what = f"{rotated.bits} bits, {rotated.values.shape[:2]}"
        raise Unusable(f"{stored}: has {what}; expected 16, and the size of its labels, {numbers.shape}")
    if numbers.min() < 0 or numbers.max() > len(CLASSES):
        raise Unusable(f"its labels are {numbers.min()} to {numbers.max()}, expected 0 to {len(CLASSES)}")
    values = rotated.values[..., 0]
    write_png(out / "depth" / f"{id}.png", (values >> 3) | (values << 13))
    write_png(out / "label" / f"{id}.png", np.where(numbers == 0, IGNORED, numbers - 1).astype(np.uint8))
    return {"rgb": refer(image, out), "depth": f"depth/{id}.png", "label": f"label/{id}.png"}
