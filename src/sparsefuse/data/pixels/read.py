"""Reads a picture of a stream as what it measures, and a label picture as numbers: a file or an array in, a tensor out.

color   red, green, blue from 0 to 1        gray    one channel, from 0 to 1
depth   metres, and 1 where something was measured (metres are 0 where not)
normal  unit vectors; 0 where there is none
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sparsefuse.config.pixels import CHANNELS, PictureStream
from sparsefuse.data.arrays import load
from sparsefuse.errors import unknown
from sparsefuse.files.references import REFUSED, suffix
from sparsefuse.files.skipped import Unusable
from sparsefuse.media.still import STILLS, Still, read_still

ARRAYS = frozenset({".npy", ".npz", ".h5", ".hdf5", ".mat"})
PICTURES = STILLS | ARRAYS
"""suffixes of files that hold a picture"""
MILLIMETRE = 0.001
TINY = 0.05
"""metres: fractions that would be millimetres and lie nearer than this are rather metres"""
LUMA = (0.299, 0.587, 0.114)
"""what red, green and blue add to gray (ITU-R BT.601)"""
SHORT = 0.1
"""a normal shorter than this is none: the gray 127, 127, 127 means that nothing was measured"""
LONG = 1.5
"""so is one of whole numbers that is longer: black and white are no directions"""


def read_picture(path: str | Path, stream: PictureStream, *, root: Path = Path()) -> Tensor:
    """(H, W, F) float32 of a picture, or of an array (H, W) or (H, W, C), `file` or `file#key`, below `root`.

    A kind that is auto and a unit that is 0 are as the file says, see `resolved`. Raises Unusable with the reason.
    """
    return as_picture(read_raw(path, root), stream, str(path))


def read_labels(path: str | Path, *, root: Path = Path()) -> Tensor:
    """(H, W) int64 of a label picture: gray, or a palette, of which it gives the numbers and not the colours; or of an
    array of whole numbers. Raises Unusable with the reason."""
    return as_labels(read_raw(path, root), str(path))


def read_raw(path: str | Path, root: Path = Path()) -> Still:
    """The numbers as they are stored. Raises Unusable."""
    kind = suffix(str(path))
    if kind not in PICTURES | REFUSED:
        raise Unusable(f"{path}: {unknown('picture file type', kind, PICTURES)}")
    if kind not in STILLS:
        return raw(load(str(path), root), str(path))
    try:
        return read_still(root / path)
    except Unusable as error:
        text = str(error).replace(str(root / path), str(path))
        unusable = Unusable(text)
        unusable.trace = error.trace
        raise unusable from error


def raw(values: np.ndarray, name: str) -> Still:
    """An array (H, W) or (H, W, C) in place of a picture; `name` begins the message of errors."""
    if values.dtype.kind not in "fiub":
        raise Unusable(f"{name}: holds values that are not numbers; expected a picture")
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or 0 in values.shape or values.shape[2] > 4:
        raise Unusable(
            f"{name}: has shape {values.shape}, expected (rows, columns) or (rows, columns, 1 to 4 channels)"
        )
    return Still(values, 8 * values.dtype.itemsize)


def resolved(still: Still, stream: PictureStream) -> PictureStream:
    """The stream with a kind and, of depth, a unit: what such a file means unless the configuration says it."""
    kind, values = stream.kind, still.values
    if kind == "auto":
        channels = 3 if still.palette is not None or values.shape[2] > 2 else 1
        wide = values.dtype.kind == "f" or still.bits > 8
        kind = "depth" if wide and channels == 1 else "color" if channels == 3 else "gray"
    unit = stream.unit
    if kind == "depth" and not unit:
        unit = 1.0 if values.dtype.kind == "f" else MILLIMETRE
    return replace(stream, kind=kind, unit=unit)


def as_picture(still: Still, stream: PictureStream, name: str = "the picture") -> Tensor:
    """(H, W, F) float32 of what was read; `name` begins the message of errors. Raises Unusable."""
    stream = resolved(still, stream)
    return _READERS[stream.kind](still, stream, name)


def as_labels(still: Still, name: str = "the label picture") -> Tensor:
    """(H, W) int64 of what was read. Raises Unusable, such as for a picture in colour."""
    values = still.values
    if values.shape[2] != 1:
        same = (values == values[..., :1]).all()
        hint = (
            "all channels are equal: save one of them" if same else "save one number per pixel, gray or with a palette"
        )
        raise Unusable(f"{name}: is in colour ({values.shape[2]} channels), expected one class per pixel; {hint}")
    if not still.exact:
        raise Unusable(f"{name}: is a JPEG or lossy WebP, which changes numbers; save label pictures as PNG")
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.round(values)).all()):
        raise Unusable(f"{name}: holds fractions or NaN, expected whole numbers, one class per pixel")
    if np.abs(values.astype(np.float64)).max() > 2**31:
        raise Unusable(f"{name}: holds numbers beyond 2,147,483,648, expected one class per pixel")
    return torch.from_numpy(values[..., 0].astype(np.int64))


def normalised(fields: Mapping[str, Tensor], stats: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Each stream with mean 0 and deviation 1 by its `stats`; depth is 0, its mean, where nothing was measured."""
    done = {}
    for name, x in fields.items():
        mean, std = stats[name]
        y = (x - mean) / std
        if x.shape[-1] == CHANNELS["depth"]:
            y = y * torch.stack([x[..., 1], torch.ones_like(x[..., 1])], -1)
        done[name] = y
    return done


def channels_of(streams: Mapping[str, PictureStream]) -> dict[str, int]:
    """Stream -> F, of streams whose kind is known."""
    return {name: CHANNELS[stream.kind] for name, stream in streams.items() if stream.kind != "auto"}


def _color(still: Still, stream: PictureStream, name: str) -> Tensor:
    if still.palette is not None:
        return torch.from_numpy(still.palette[still.values[..., 0]] / np.float32(255))
    x = _shares(still, name)
    return x.expand(-1, -1, 3).clone() if x.shape[2] < 3 else x[..., :3].contiguous()


def _gray(still: Still, stream: PictureStream, name: str) -> Tensor:
    if still.palette is not None or still.values.shape[2] > 2:
        return (_color(still, stream, name) @ torch.tensor(LUMA))[..., None]
    return _shares(still, name)


def _shares(still: Still, name: str) -> Tensor:
    """From 0 to 1; (H, W, 1) of one channel, also if a second says what is transparent."""
    values = still.values[..., :1] if still.values.shape[2] == 2 else still.values
    if values.dtype.kind == "f":
        x = _finite(values, name)
        if x.min() < 0 or x.max() > 1:
            raise Unusable(
                f"{name}: holds values from {x.min():.4g} to {x.max():.4g}, expected 0 to 1; if it is depth or "
                "normals, say so in pixels.streams (kind: depth); save colours from 0 to 255 as uint8"
            )
        return x
    low, high = int(values.min()), int(values.max())
    most = 1 if values.dtype.kind == "b" else _most(still) if values.dtype.kind == "u" and still.bits <= 16 else 255
    if low < 0 or high > most:
        raise Unusable(f"{name}: holds values from {low} to {high}, expected 0 to {most}")
    return torch.from_numpy(values.astype(np.float32) / np.float32(most))


def _most(still: Still) -> int:
    """The largest value that it could hold."""
    return still.most or 2**still.bits - 1


def _depth(still: Still, stream: PictureStream, name: str) -> Tensor:
    if still.palette is not None or still.values.shape[2] != 1:
        what = "a palette of colours" if still.palette is not None else f"{still.values.shape[2]} channels"
        raise Unusable(f"{name}: has {what}, expected depth, one number per pixel (16-bit gray, or floats)")
    if not still.exact or still.values.dtype.kind == "b":
        raise Unusable(f"{name}: is too coarse for depth; save depth as a 16-bit PNG, or as .npy")
    if still.values.dtype.kind != "f" and still.bits <= 8 and stream.unit == MILLIMETRE:
        raise Unusable(
            f"{name}: has {still.bits} bits per pixel, too few for depth in millimetres; was it 16-bit once? If not, "
            "set its unit, in metres, in pixels.streams"
        )
    raw = still.values[..., 0].astype(np.float64)
    metres = raw * stream.unit
    with np.errstate(invalid="ignore"):
        measured = np.isfinite(raw) & (raw != stream.invalid) & (metres > 0) & (metres < np.finfo(np.float32).max)
    usual = float(np.median(metres[measured])) if measured.any() else TINY
    if still.values.dtype.kind == "f" and stream.unit == MILLIMETRE and usual < TINY:
        raise Unusable(
            f"{name}: holds fractions, half of them above {usual / stream.unit:.3g}, but its unit is the millimetre; "
            "are these metres? Then set the unit to 1, or save whole millimetres"
        )
    return torch.from_numpy(np.stack([np.where(measured, metres, 0), measured], -1).astype(np.float32))


def _normal(still: Still, stream: PictureStream, name: str) -> Tensor:
    if still.palette is not None or still.values.shape[2] < 3:
        raise Unusable(f"{name}: has too few channels, expected normals in three: x, y, z")
    values = still.values[..., :3]
    if values.dtype.kind == "f":
        x = _finite(values, name)
        if x.abs().max() > 1.01:
            raise Unusable(
                f"{name}: holds values from {x.min():.4g} to {x.max():.4g}, expected normals from -1 to 1; save "
                "those of 0 to 255 as uint8"
            )
    elif values.dtype.kind == "u" and still.bits <= 16:
        x = torch.from_numpy(values.astype(np.float32) / np.float32(_most(still) / 2) - 1)
        x = torch.where(x.norm(dim=-1, keepdim=True) > LONG, 0.0, x)
    else:
        raise Unusable(f"{name}: holds {values.dtype}, expected normals in 8 or 16 bits, or floats from -1 to 1")
    return unit(x)


def unit(x: Tensor) -> Tensor:
    """(H, W, 3) vectors of length 1; 0 for those that are too short to point anywhere."""
    length = x.norm(dim=-1, keepdim=True)
    return torch.where(length < SHORT, 0.0, x / length.clamp_min(SHORT))


def _finite(values: np.ndarray, name: str) -> Tensor:
    with np.errstate(over="ignore"):
        x = values.astype(np.float32)
    if not np.isfinite(x).all():
        raise Unusable(f"{name}: {int((~np.isfinite(x)).sum())} of {x.size} values are NaN or infinite")
    return torch.from_numpy(x)


_READERS = {"color": _color, "gray": _gray, "depth": _depth, "normal": _normal}


def common(stills: Iterable[Still], stream: PictureStream) -> PictureStream:
    """What most of a stream's pictures mean; between equals, the first."""
    found = [resolved(still, stream) for still in stills]
    return max(found, key=found.count) if found else stream
