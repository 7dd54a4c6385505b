"""Draws boxes: a cloud from above, or a picture with its camera in; (H, W, 3) uint8 out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from sparsefuse.layers.points.boxes import corners, rows
from sparsefuse.layers.points.nouns import Boxes, Camera
from sparsefuse.media.png import Color
from sparsefuse.report.pixels.palette import hexadecimal, palette

SIDE = 340
"""pixels of the longer side of a view from above"""
MOST_POINTS = 6000
"""points that are drawn"""
FINE = 1.5
"""pixels drawn per pixel asked for, so that text is legible on fine screens"""
TRUE: Color = (20, 20, 20)
"""true boxes, dashed"""
SURE = 0.3
"""score from which boxes are drawn"""
NEAR = 0.05
"""metres: edges are cut there, before the camera"""
EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
"""of the corners of a box"""
_GROUND = 0.005
"""share of points below the floor, or outside the view"""


class Outline(NamedTuple):
    """A box to draw."""

    box: np.ndarray
    """(7) centre, size, yaw"""
    color: Color
    text: str = ""
    """such as `drum 0.87`"""
    dashed: bool = False


def outlines_of(boxes: Boxes, names: Sequence[str], least: float = SURE) -> list[Outline]:
    """The boxes of a scene, (1, M), with this score and more; the most certain last, above the others."""
    colors = palette(len(names))
    parts = rows(boxes)[0].numpy(), boxes.label[0].tolist(), boxes.score[0].tolist(), boxes.mask[0].tolist()
    found = [
        (score, Outline(row, colors[label], f"{names[label]} {score:.2f}"))
        for row, label, score, real in zip(*parts, strict=True)
        if real and score >= least
    ]
    return [outline for _, outline in sorted(found, key=lambda pair: pair[0])]


def from_above(
    xyz: np.ndarray, colors: np.ndarray | None, outlines: Sequence[Outline], *, side: int = SIDE
) -> np.ndarray:
    """Points (N, 3), x to the right and y up, in their `colors` (N, 3) uint8, or in gray, the higher the darker."""
    low, high = _reach(xyz, outlines)
    scale = side / max(high - low)
    figure, axes = _sheet(*((high - low) * scale))
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    order = np.argsort(xyz[:, 2], kind="stable")  # the higher hides the lower, as from above
    order = order[:: max(-(-len(order) // MOST_POINTS), 1)]
    shade = colors[order] / 255 if colors is not None else np.repeat(_shade(xyz[order, 2])[:, None], 3, 1)
    axes.scatter(*xyz[order, :2].T, s=2.2, c=0.25 + 0.75 * shade, lw=0)  # paler, so that boxes stand out
    for outline in outlines:
        _line(axes, _ring(outline), outline)
    for outline in outlines:
        _text(axes, _ring(outline).max(0) * (0, 1) + outline.box[:2] * (1, 0), outline)
    return _pixels(figure)


def on_picture(picture: np.ndarray, camera: Camera, outlines: Sequence[Outline], *, side: int = SIDE) -> np.ndarray:
    """A picture (H, W, 3) uint8 with its camera, and the boxes in it."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    figure, axes = _sheet(width * scale, height * scale)
    axes.imshow(picture, extent=(-0.5, width - 0.5, height - 0.5, -0.5), aspect="auto")
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    for outline in outlines:
        lines = edges_in(camera, outline.box)
        for line in lines:
            _line(axes, line, outline)
        if lines and outline.text:
            ends = np.concatenate(lines)
            ends = ends[((ends >= 0) & (ends <= (width - 1, height - 1))).all(1)]
            if len(ends):
                _text(axes, ends[ends[:, 1].argmin()], outline)
    return _pixels(figure)


def edges_in(camera: Camera, box: np.ndarray) -> list[np.ndarray]:
    """The edges of a box as lines (2, 2) of column and row, as far as they are before the camera; they may leave the
    picture."""
    whole = corners(torch.from_numpy(box.astype(np.float64)))
    exact = Camera(camera.K.double(), camera.pose.double(), camera.size)
    depth = exact.project(whole).depth
    lines = []
    for a, b in EDGES:
        if max(depth[a], depth[b]) <= NEAR:
            continue
        ends = []
        for one, other in ((a, b), (b, a)):
            share = ((NEAR - depth[one]) / (depth[other] - depth[one])).clamp(0, 1) if depth[one] < NEAR else 0.0
            ends.append(whole[one] + share * (whole[other] - whole[one]))
        lines.append(exact.project(torch.stack(ends)).uv.numpy())
    return lines


def _reach(xyz: np.ndarray, outlines: Sequence[Outline]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest x and y that are drawn: of all points but the outermost, and of the true boxes."""
    low, high = np.quantile(xyz[:, :2], [_GROUND, 1 - _GROUND], axis=0)
    for outline in outlines:
        if outline.dashed:
            low, high = np.minimum(low, _ring(outline).min(0)), np.maximum(high, _ring(outline).max(0))
    margin = 0.03 * max(*(high - low), 0.1)
    return low - margin, high + margin


def _ring(outline: Outline) -> np.ndarray:
    """(5, 2) the corners from above, the first again at the end."""
    return corners(torch.from_numpy(outline.box.astype(np.float64))).numpy()[[0, 1, 2, 3, 0], :2]


def _shade(z: np.ndarray) -> np.ndarray:
    """Heights, from light below to dark above."""
    low, high = np.quantile(z, [_GROUND, 1 - _GROUND])
    return 0.8 - 0.6 * ((z - low) / max(high - low, 1e-6)).clip(0, 1)


def _sheet(width: float, height: float) -> tuple[Any, Any]:
    """A figure of so many pixels, and axes that fill it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width, 40) / 100, max(height, 40) / 100), dpi=100 * FINE, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return figure, axes


def _line(axes: Any, points: np.ndarray, outline: Outline) -> None:
    """With a pale edge, to be seen on anything."""
    from matplotlib.patheffects import withStroke

    style, width = ((0, (3, 2)), 1.0) if outline.dashed else ("-", 1.4)
    axes.plot(
        *points.T, color=hexadecimal(outline.color), ls=style, lw=width,
        path_effects=[withStroke(linewidth=width + 1, foreground=(1, 1, 1, 0.6))],
    )  # fmt: skip


def _text(axes: Any, place: np.ndarray, outline: Outline) -> None:
    """Above the place, on the outline's color."""
    if outline.text:
        bright = float(np.dot(outline.color, (0.299, 0.587, 0.114))) > 140
        axes.text(
            *place, outline.text, color="black" if bright else "white", fontsize=6.5, ha="center", va="bottom",
            clip_on=True, parse_math=False, bbox={"facecolor": hexadecimal(outline.color), "lw": 0, "pad": 1},
        )  # fmt: skip


def _pixels(figure: Any) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
