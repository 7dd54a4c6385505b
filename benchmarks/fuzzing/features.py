"""Feature files of every format, read as a batch reads them; some declare far more than they hold."""

import functools
import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing._bytes import mutated
from sparsefuse.data.arrays import read_array
from sparsefuse.files.skipped import Unusable

EXPECTED = (Unusable,)


def make(rng: random.Random, folder: Path) -> Path:
    """A file of one of the formats, nearly always mutated."""
    suffix, content = rng.choice(wholes())
    if rng.random() < 0.98:
        content = mutated(rng, content, [other for _, other in wholes()])
    path = folder / f"clip.{suffix}"
    path.write_bytes(content)
    return path


def attempt(path: Path) -> None:
    """Without a key, and with those of some of the files; raises the longest error if none fits."""
    refused = [tried(f"{path.name}{key}", path.parent) for key in ("", "#rgb", "#rgb/2")]
    if all(refused) or max(map(len, refused)) > 1000:
        raise Unusable(max(refused, key=len))


def tried(ref: str, root: Path) -> str:
    """The error; without its traceback, which would keep what was read."""
    try:
        read_array(ref, root)
    except Unusable as error:
        return str(error)
    return ""


@functools.cache
def wholes() -> list[tuple[str, bytes]]:
    """(suffix, content) of what is mutated."""
    import h5py
    import scipy.io
    import torch
    from safetensors.numpy import save
    from safetensors.torch import save as save_torch

    values = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    files: list[tuple[str, bytes]] = [("csv", b"a,b,c\n1,2,3\n4.5,-6e3,7\n"), ("csv", b"1,2\n3,4\n" * 20)]
    for array in (values, values.astype(">i2"), np.asfortranarray(values), values[:0]):
        files.append(("npy", written(lambda file, array=array: np.save(file, array))))
    huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1024), }"
    files.append(("npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(huge)) + huge.encode()))
    zeros = np.zeros((50_000, 200), np.float32)
    for store in (np.savez, np.savez_compressed):
        files.append(("npz", written(lambda file, store=store: store(file, rgb=values, sound=values[:3]))))
    for array, packed in ((values, False), (values, True), (zeros, True)):
        files.append(("mat", written(lambda f, a=array, p=packed: scipy.io.savemat(f, {"rgb": a}, do_compression=p))))
    files.append(("mat", bomb(files[-1][1])))
    files.append(("npz", written(lambda file: np.savez_compressed(file, rgb=zeros))))
    files.append(("h5", written(lambda file: stored(file, h5py, values, {}))))
    files.append(("h5", written(lambda file: stored(file, h5py, values, {"compression": "gzip", "shuffle": True}))))
    files.append(("h5", written(lambda file: declared(file, h5py))))
    files.append(("safetensors", save({"rgb": values, "sound": values[:4]})))
    files.append(("safetensors", save_torch({"rgb": torch.ones(3, 2, dtype=torch.bfloat16)})))
    return files


def written(store: Any) -> bytes:
    """What `store` writes into a file."""
    file = io.BytesIO()
    store(file)
    return file.getvalue()


def stored(file: Any, h5py: Any, values: np.ndarray, how: dict[str, Any]) -> None:
    """Two data sets, one with a row per clip."""
    with h5py.File(file, "w") as target:
        target.create_dataset("sound", data=values, **how)
        target.create_dataset("rgb", data=np.stack([values] * 4), **how)


def declared(file: Any, h5py: Any) -> None:
    """A data set of 8 GB that holds nothing."""
    with h5py.File(file, "w") as target:
        target.create_dataset("rgb", (2_000_000, 1024), "f4", chunks=(1000, 1024), fillvalue=1.0)


def bomb(mat: bytes) -> bytes:
    """A .mat file with one compressed element of 800 MB of zeros."""
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(1 << 24)) for _ in range(48)) + packer.flush()
    return mat[:128] + struct.pack("<II", 15, len(packed)) + packed
