"""Reads one stored array by its reference, `file` or `file#key`, as (N, F) float32."""

import difflib
import functools
import itertools
import os
import re
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from sparsefuse.data.hdf5 import open_hdf5, read_dataset
from sparsefuse.data.matlab import read_mat
from sparsefuse.errors import unknown
from sparsefuse.files.declared import check_array, check_bytes
from sparsefuse.files.references import FEATURES, MEDIA, REFUSED, TABLES, split_ref
from sparsefuse.files.skipped import Unusable, one_file
from sparsefuse.shown import counted, said


def read_array(ref: str, root: Path) -> np.ndarray:
    """Reads tokens in rows: (N, F) float32, N >= 1, F >= 1, all finite; a vector becomes (N, 1).

    `ref` is relative to `root`, the manifest's folder. Raises Unusable with the reference and the reason.
    """
    values = load(ref, root)
    if values.dtype.kind not in "fiub":
        raise Unusable(f"{ref}: holds {_kind(values.dtype)} values, expected numbers")
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2:
        raise Unusable(f"{ref}: has shape {values.shape}, expected two axes: (tokens, features)")
    if 0 in values.shape:
        raise Unusable(f"{ref}: is empty, shape {values.shape}; expected at least one token and one feature")
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit float32 becomes inf and is named below
        values = np.ascontiguousarray(values, dtype=np.float32)
        if not np.isfinite(values.min()) or not np.isfinite(values.max()):
            _refuse_not_finite(ref, values)
    return values


def load(ref: str, root: Path) -> np.ndarray:
    """Reads one array as it is stored, any shape and type. Raises Unusable; never unpickles."""
    name, key = (ref, "") if "#" not in ref or os.path.isfile(os.path.join(root, ref)) else split_ref(ref)
    path = os.path.join(root, name)
    suffix = os.path.splitext(name)[1].lower()
    if suffix in REFUSED:
        raise Unusable(f"{ref}: a pickle can run code when it is opened, so it is not read; save the array as .npy")
    status = _status(path)
    if status and stat.S_ISDIR(status.st_mode):
        raise Unusable(f"{ref}: is a folder, expected a file")
    if suffix in MEDIA:
        raise Unusable(f"{ref}: is a media file, expected features; run `sparsefuse extract` first")
    if suffix not in _READERS:
        raise Unusable(f"{ref}: {unknown('file type', suffix, FEATURES)}")
    if not status or not stat.S_ISREG(status.st_mode):
        raise Unusable(f"{ref}: file not found in {root}")
    if status.st_size == 0:
        raise Unusable(f"{ref}: the file is empty (0 bytes)")
    try:
        with one_file(ref, *_BROKEN):
            return np.asarray(_READERS[suffix](ref, path, key, status))
    except Unusable as error:
        raise error if str(error).startswith(ref) else Unusable(f"{ref}: {error}") from None
    except _BROKEN as error:
        if "allow_pickle" in str(error):
            raise Unusable(f"{ref}: holds Python objects, which need pickle; save plain numbers") from error
        hint = "; readings of a device become features by the extractor `series`" if suffix in TABLES else ""
        raise Unusable(f"{ref}: cannot be read, truncated or not a {suffix} file ({said(error)}){hint}") from error


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


_HEAD = 10_000
"""bytes of a .npy file's header; numpy refuses longer ones too, but reads them first"""
_NOT_IN_NUMPY = ("BF", "F8", "F6", "F4")
"""how types of numbers in safetensors begin that only torch reads"""
_COLUMNS = re.compile(r"(\d{1,9}):(\d{1,9})")

# What the readers below raise on garbage: MemoryError when a header claims a huge array, RuntimeError from HDF5.
_BROKEN = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OSError,
    EOFError,
    MemoryError,
    OverflowError,
    SyntaxError,
    RuntimeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def _read_npy(ref: str, path: str, key: str, status: os.stat_result) -> np.ndarray:
    """The whole array, or with a key as 0:3 those of its columns."""
    columns = _COLUMNS.fullmatch(key)
    if not columns:
        _no_key(ref, key)
    with open(path, "rb") as file:
        values = _read_array(file, status.st_size, status.st_size)
    if not columns:
        return values
    first, end = int(columns[1]), int(columns[2])
    if values.ndim != 2 or not first < end <= values.shape[1]:
        raise Unusable(f"{ref}: has shape {values.shape}, which has no columns {first} to {end - 1}")
    return values[:, first:end]


def _read_array(file: IO[bytes], size: int, held: int) -> np.ndarray:
    """The array of a .npy file of `size` bytes, in a file of `held`."""
    head = file.read(12)
    if head[6:7] > b"\1" and int.from_bytes(head[8:], "little") > _HEAD:
        raise ValueError("its header is too long")
    file.seek(0)
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    shape, _, dtype = read[np.lib.format.read_magic(file)[0]](file)
    if not dtype.hasobject and prod(shape) * dtype.itemsize > size:
        raise ValueError(f"its header declares {prod(shape):,} values of {_kind(dtype)}, it has {size:,} bytes")
    check_array(shape, dtype.itemsize, held)
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _read_npz(ref: str, path: str, key: str, status: os.stat_result) -> np.ndarray:
    archive = _open_npz(path, status.st_mtime_ns, status.st_size, os.getpid())
    # A file may hold one array per clip: look for the key before listing all of them.
    name = key if key and key in archive else _pick(ref, key, archive.files)
    assert archive.zip is not None  # it is open
    info = archive.zip.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("compressed in a way that numpy does not use")
    check_bytes(info.file_size, status.st_size, f"array {name!r:.60}")
    with archive.zip.open(info) as file:
        return _read_array(file, info.file_size, status.st_size)


@functools.lru_cache(maxsize=8)
def _open_npz(path: str, stamp: int, size: int, process: int) -> "np.lib.npyio.NpzFile":
    """Kept open: the index of an archive with an array per clip takes longer to read than a clip.

    Opened again if the file has changed, and in a forked process, which would share the file position.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError("not a zip archive")
    return np.load(path, allow_pickle=False)


def _read_mat(ref: str, path: str, key: str, status: os.stat_result) -> np.ndarray:
    arrays = read_mat(Path(path))
    return arrays[_pick(ref, key, arrays)]


def _read_csv(ref: str, path: str, key: str, status: os.stat_result) -> np.ndarray:
    _no_key(ref, key)
    with open(path, encoding="utf-8-sig") as file:
        first = file.readline()
        lines = file if not _is_numbers(first) else itertools.chain([first], file)
        begin = next((line for line in lines if line.strip()), None)  # without one numpy would warn
        if begin is None:
            raise Unusable(f"{ref}: is empty, only a header; expected rows of numbers")
        return np.loadtxt(itertools.chain([begin], lines), delimiter=",", ndmin=2, comments=None, dtype=np.float64)


def _read_h5(ref: str, path: str, key: str, status: os.stat_result) -> np.ndarray:
    """One data set, or with a key as rgb/17 that row of it."""
    with open_hdf5(Path(path)) as file:
        import h5py

        name, _, index = key.rpartition("/")
        clips = file.get(name) if index.isdecimal() else None
        if isinstance(clips, h5py.Dataset):  # an array with a row per clip
            if int(index) >= len(clips):
                raise Unusable(f"{ref}: {name} has {counted(len(clips), 'row')}, counted from 0")
            return read_dataset(clips, int(index))
        # A file may hold one data set per clip: look for the key before listing all of them.
        if not key or not isinstance(file.get(key), h5py.Dataset):
            keys: list[str] = []
            file.visititems(lambda name, item: keys.append(name) if isinstance(item, h5py.Dataset) else None)
            key = _pick(ref, key, keys)
        return read_dataset(file[key])


def _read_safetensors(ref: str, path: str, key: str, status: os.stat_result) -> np.ndarray:
    from safetensors import SafetensorError

    try:
        file, keys = _open_safetensors(path, status.st_size, status.st_mtime_ns)
        name = key if key in keys else _pick(ref, key, keys)
        if file.get_slice(name).get_dtype().startswith(_NOT_IN_NUMPY):
            file, _ = _open_safetensors(path, status.st_size, status.st_mtime_ns, "pt")
            return file.get_tensor(name).float().numpy()
        return file.get_tensor(name)  # six times as fast
    except SafetensorError as error:
        raise ValueError(said(error)) from error


@lru_cache(maxsize=64)
def _open_safetensors(path: str, size: int, changed: int, framework: str = "np") -> tuple[Any, frozenset[str]]:
    """The open file and its keys. It stays open: reading the header takes ten times as long as reading a clip."""
    from safetensors import safe_open

    file: Any = safe_open(path, framework=framework)
    return file, frozenset(file.keys())


_READERS: dict[str, Callable[[str, str, str, os.stat_result], np.ndarray]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".mat": _read_mat,
    ".csv": _read_csv,
    ".h5": _read_h5,
    ".hdf5": _read_h5,
    ".h5py": _read_h5,
    ".safetensors": _read_safetensors,
}


def _pick(ref: str, key: str, keys: Iterable[str]) -> str:
    """The name of the array: `key`, or the only one in the file."""
    names = sorted(keys)
    if key in names:
        return key
    if key:
        # A file may hold an array per clip: name the nearest ones only.
        near = names if len(names) <= 20 else difflib.get_close_matches(key, names, n=5, cutoff=0.3)
        raise Unusable(f"{ref}: {unknown('key', key, near)} ({len(names)} in the file)")
    if len(names) != 1:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise Unusable(f"{ref}: holds {counted(len(names), 'array')} ({shown or 'none'}); name one as file#key")
    return names[0]


def _no_key(ref: str, key: str) -> None:
    if key:
        raise Unusable(f"{ref}: this file type holds one array without a name; leave out '#{key}'")


def _refuse_not_finite(ref: str, values: np.ndarray) -> NoReturn:
    bad = ~np.isfinite(values)
    row, column = divmod(int(bad.argmax()), values.shape[1])
    raise Unusable(
        f"{ref}: {int(bad.sum())} of {values.size} values are NaN or infinite, the first at row {row}, "
        f"column {column} (counted from 0)"
    )


def _kind(dtype: np.dtype) -> str:
    return str(dtype) if dtype.names is None else "structured"  # whose names are the file's


def _is_numbers(line: str) -> bool:
    try:
        return bool([float(cell) for cell in line.split(",")])
    except ValueError:
        return False
