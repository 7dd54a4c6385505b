"""What a stream's picture looks like to a person: values in, (H, W, 3) uint8 out."""

import base64

import numpy as np

from sparsefuse.config.pixels import Kind
from sparsefuse.media.png import png_of

HOLE = (214, 96, 77)
"""where a depth was not measured: no gray"""
_WARM = np.array([(255, 255, 255), (253, 208, 162), (241, 105, 19), (166, 54, 3), (80, 20, 0)])
"""of errors, from none to the largest"""


def seen(values: np.ndarray, kind: Kind, depths: tuple[float, float] | None = None) -> np.ndarray:
    """(H, W, F) as read: color and gray from 0 to 1, depth in metres (with its validity, if there are two channels),
    normals as vectors.

    Near is bright; `depths` are the nearest and farthest metres, those of the picture if None.
    """
    if kind == "depth":
        return _depth(values, depths)
    if kind == "normal":
        values = (values + 1) / 2
    bytes = (255 * np.nan_to_num(values).clip(0, 1)).round().astype(np.uint8)
    return np.broadcast_to(bytes, (*bytes.shape[:2], 3)).copy() if bytes.shape[2] == 1 else bytes


def _depth(values: np.ndarray, depths: tuple[float, float] | None) -> np.ndarray:
    metres = values[..., 0]
    known = values[..., 1] > 0 if values.shape[2] > 1 else np.isfinite(metres)
    if depths is None:
        depths = (float(metres[known].min()), float(metres[known].max())) if known.any() else (0.0, 1.0)
    near, far = depths
    share = 1 - (np.where(known, metres, near) - near) / max(far - near, 1e-6)
    gray = (40 + 215 * share.clip(0, 1)).round().astype(np.uint8)
    return np.where(known[..., None], gray[..., None], np.array(HOLE, np.uint8))


def warm(values: np.ndarray, most: float) -> np.ndarray:
    """(H, W) from 0, white, to `most`, dark red."""
    place = (values / max(most, 1e-12)).clip(0, 1) * (len(_WARM) - 1)
    low = np.minimum(place.astype(int), len(_WARM) - 2)
    share = (place - low)[..., None]
    return (_WARM[low] * (1 - share) + _WARM[low + 1] * share).round().astype(np.uint8)


def over(picture: np.ndarray, colors: np.ndarray, where: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """The picture, grayed, with `colors` laid over it where (H, W) is True."""
    gray = picture.mean(2, keepdims=True)
    mixed = (1 - strength) * gray + strength * colors
    return np.where(where[..., None], mixed, gray).round().astype(np.uint8)


def data_url(pixels: np.ndarray) -> str:
    """A PNG as the address of an <img>."""
    return f"data:image/png;base64,{base64.b64encode(png_of(pixels)).decode()}"


def smaller(pixels: np.ndarray, most: int) -> np.ndarray:
    """Without rows and columns, at equal distances, so that neither side has more than `most`; numbers stay whole."""
    step = -(-max(pixels.shape[:2]) // most)
    return pixels[::step, ::step]
