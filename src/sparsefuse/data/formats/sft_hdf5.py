"""The SFT authors' HDF5 files of VGGS10 and VGGS100: I3D rgb and flow, and a log-mel spectrogram, per clip.

Ding et al., Sparse fusion for multimodal transformers, 2021. Layout: vgg_train.h5py and vgg_test.h5py, or
vgg100_train.h5py and vgg100_test.h5py, each with rgb (N, 38, 1024), flow (N, 38, 1024), spect (N, 1200, 128) and
class_name (N,).
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from sparsefuse.data.formats import demand
from sparsefuse.data.formats._media import refer
from sparsefuse.data.hdf5 import open_hdf5
from sparsefuse.errors import unknown
from sparsefuse.files.declared import ROW, check_bytes
from sparsefuse.files.rows import write_table

MODALITIES = ("flow", "rgb", "spect")
STEMS = {"vggs10": "vgg", "vggs100": "vgg100"}


def prepare(
    source: Path,
    out: Path,
    *,
    subset: Literal["auto", "vggs10", "vggs100"] = "auto",
    valid: float = 0.2,
    seed: int = 1111,
) -> Path:
    """Writes a manifest whose cells name the rows of the files, `vgg_train.h5py#rgb/17`; nothing is copied.

    `subset`: which pair of files; auto = the one that is there. `valid`: share of the training file that is validation,
    the end of numpy's permutation with `seed`, as the authors' 80/20 with seed 1111 (their exact draw is not known).
    Labels are the names, so that a class's number is its rank among them, as in the authors' code.
    Checked: all arrays are there, have three axes and as many rows as there are names.
    """
    if not 0 <= valid < 1:
        raise ValueError(f"sft_hdf5: option valid is {valid}, expected a share from 0 to below 1")
    candidates = list(STEMS) if subset == "auto" else [subset]
    there = [name for name in candidates if any(source.glob(f"{STEMS[name]}_train.*"))]
    if len(there) > 1:
        raise ValueError(f"sft_hdf5: {source} has the files of {' and '.join(there)}; set the option subset")
    stem = STEMS[(there or candidates)[0]]
    patterns = [f"{stem}_{split}.h*5*" for split in ("train", "test")]
    rows: list[dict[str, str]] = []
    for split, path in zip(("train", "test"), demand("sft_hdf5", source, *patterns), strict=True):
        names = _names(path)
        held = set()
        if split == "train":
            order = np.random.RandomState(seed).permutation(len(names))
            held = set(order[len(names) - round(valid * len(names)) :].tolist())
        file = refer(path, out)
        for i, name in enumerate(names):
            refs = {modality: f"{file}#{modality}/{i}" for modality in MODALITIES}
            rows.append({"id": f"{split}-{i:05d}", **refs, "label": name, "split": "valid" if i in held else split})
    return write_table(out / "manifest.csv", rows)


def _names(path: Path) -> list[str]:
    """The class of every row."""
    try:
        with open_hdf5(path) as file:
            import h5py

            for name in (*MODALITIES, "class_name"):
                if not isinstance(file.get(name), h5py.Dataset):
                    raise ValueError(f"{unknown('array', name, file)}; expected {', '.join(MODALITIES)} and class_name")
            labels: Any = file["class_name"]
            count = labels.size
            check_bytes(ROW * count, path.stat().st_size, f"a table of {count:,} clips")
            for name in MODALITIES:
                _demand_shape(name, file[name], count)
            names = np.asarray(labels).reshape(-1).tolist()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return [name.decode("utf-8") if isinstance(name, bytes) else str(name) for name in names]


def _demand_shape(name: str, values: Any, count: int) -> None:
    if len(values.shape) != 3 or len(values) != count or 0 in values.shape:
        raise ValueError(
            f"{name} has shape {values.shape}, expected ({count}, tokens, features): class_name has {count}"
        )
