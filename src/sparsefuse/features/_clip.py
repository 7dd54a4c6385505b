"""One media file comes in, one feature file comes out: the work of one process on one clip."""

import errno
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.features import extractor
from sparsefuse.files import replacing
from sparsefuse.skipped import Unusable


class Clip(NamedTuple):
    """What to make from what."""

    id: str
    modality: str
    source: Path
    target: Path
    """the .npy file to write, (N, F) float32"""
    extractor: str
    options: dict[str, Any]
    key: str
    """changes when the source, the extractor or its options change; empty when the source is missing"""


def make(clip: Clip) -> str:
    """Writes the clip's features; returns the reason when the clip is unusable, else the empty text.

    Raises OSError when the features cannot be written: the next clip could not be written either.
    """
    try:
        features = extractor(clip.extractor)(clip.source, **clip.options)
        _check(features, clip)
    except (Unusable, OSError) as error:
        return str(error)
    except MemoryError:
        return f"{clip.source}: needs more memory than there is; use a lower rate or size, or fewer jobs"
    _write(clip.target, features)
    return ""


def _check(features: np.ndarray, clip: Clip) -> None:
    if features.ndim != 2 or features.dtype != np.float32:
        raise ValueError(
            f"extractor {clip.extractor!r} gave {features.dtype} {features.shape}, expected float32 (N, F)"
        )
    if 0 in features.shape:
        raise Unusable(f"{clip.source}: gives no features: {features.shape} (N, F), expected at least (1, 1)")
    bad = features.size - int(np.isfinite(features).sum())
    if bad:
        raise Unusable(f"{clip.source}: {bad} of {features.size} features are NaN or infinite, expected finite numbers")


def _write(target: Path, features: np.ndarray) -> None:
    # Through memory: numpy's own write to a file reports a full disk without its error number.
    buffer = io.BytesIO()
    np.save(buffer, features)
    try:
        with replacing(target) as temporary:
            temporary.write_bytes(buffer.getbuffer())
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        hint = "the disk is full; free some space and run the same command again, finished clips are kept"
        raise OSError(errno.ENOSPC, hint, str(target)) from error
