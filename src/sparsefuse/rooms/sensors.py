"""What a camera and a depth camera make of a picture: noise, glare and darkness in one, holes in the other."""

import numpy as np

from sparsefuse.rooms.draws import Draws

COUNTS = (0, 0, 1, 1, 1, 2, 2, 3)
"""Spots of glare in a picture, and of darkness: each with the same chance."""
HOLES = (0, 1, 1, 2, 2, 3, 4)


def clear_picture(lit: np.ndarray) -> np.ndarray:
    """(n, 3) uint8 of the light (3, n) that reaches a camera: the square root, as screens undo it."""
    return np.ascontiguousarray((np.sqrt(np.clip(lit, 0, 1)) * np.float32(255.5)).astype(np.uint8).T)


def color_picture(draws: Draws, lit: np.ndarray, height: int, width: int) -> np.ndarray:
    """(n, 3) uint8: exposed more or less well, with noise, and lost in glare and darkness."""
    lit = lit * np.float32(draws.between(0.7, 1.3))
    for count, what, left in ((draws.one(COUNTS), 1.0, 0.0), (draws.one(COUNTS), 0.0, 0.05)):
        for _ in range(count):
            place, within = _spot(draws, height, width)
            strength = np.clip(2 * within, 0, 1)
            lit[:, place] *= 1 - strength * np.float32(1 - left)
            lit[:, place] += strength * np.float32(what)
    noise = draws.noise(4, lit.shape[1])
    lit += np.float32(0.012) * noise[:3]
    lit += np.float32(0.012) * noise[3]
    return clear_picture(lit)


def depth_picture(draws: Draws, depth: np.ndarray, black: np.ndarray, height: int, width: int) -> np.ndarray:
    """(n,) uint16 millimetres, 0 where nothing is measured: in holes and on `black` paint. Noise grows with depth
    squared, as a stereo sensor's; it knows of depth alone."""
    depth = depth + np.float32(0.002) * draws.noise(len(depth)) * depth * depth
    for _ in range(draws.one(HOLES)):
        place, _ = _spot(draws, height, width)
        depth[place] = 0
    depth[black] = 0
    return (depth * 1000 + np.float32(0.5)).astype(np.uint16)


def _spot(draws: Draws, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of an ellipse, and how far each is within it: 1 in the middle, 0 on the rim."""
    x, y = draws.between(0, width), draws.between(0, height)
    across, down = (draws.between(0.08, 0.28) * max(height, width) for _ in range(2))
    columns = ((np.arange(width, dtype=np.float32) - x) / across) ** 2
    rows = ((np.arange(height, dtype=np.float32) - y) / down) ** 2
    within = (1 - (rows[:, None] + columns)).ravel()
    place = np.flatnonzero(within > 0)
    return place, within[place]
