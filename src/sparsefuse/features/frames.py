"""A video comes in, its resized pixels come out as tokens: one per frame, or one per patch of a frame."""

from pathlib import Path

import numpy as np

from sparsefuse.media import read_frames

SOURCE = "video"


def extract(
    path: str | Path,
    *,
    rate: float | None = None,
    size: tuple[int, int] = (32, 32),
    gray: bool = True,
    patch: int | None = None,
    difference: bool = False,
    centre: bool = False,
) -> np.ndarray:
    """Pixels in [0, 1] as tokens, (N, F) float32. Raises Unusable when the file cannot be decoded.

    `rate`: frames per second, None = every frame. `size`: (height, width). `patch`: side of the square patches, None =
    one token per frame. `difference`: append to each token what changed since the frame before (the first: zeros).
    `centre`: take the clip's mean frame off every frame, so that what stands still becomes 0.
    """
    if patch is not None and (patch < 1 or size[0] % patch or size[1] % patch):
        raise ValueError(f"patch is {patch}, expected a divisor of the height and width, {size[0]} x {size[1]}")
    pixels = read_frames(path, rate=rate, size=size, gray=gray).pixels
    return tokens(pixels.astype(np.float32) / 255, patch=patch, difference=difference, centre=centre)


def tokens(
    pixels: np.ndarray, *, patch: int | None = None, difference: bool = False, centre: bool = False
) -> np.ndarray:
    """(T, H, W, C) to (N, F), ordered by time, then row, then column; a patch's features are its rows, flattened."""
    if centre:
        pixels = pixels - pixels.mean(0)
    cut = _patches(pixels, patch) if patch else pixels.reshape(len(pixels), 1, -1)  # (T, P, F)
    if difference:
        change = np.diff(cut, axis=0, prepend=cut[:1])
        cut = np.concatenate([cut, change], axis=2)  # (T, P, 2F)
    return cut.reshape(-1, cut.shape[2])


def _patches(pixels: np.ndarray, side: int) -> np.ndarray:
    time, height, width, colours = pixels.shape
    grid = pixels.reshape(time, height // side, side, width // side, side, colours).swapaxes(2, 3)
    return grid.reshape(time, -1, side * side * colours)  # (T, P, F)
