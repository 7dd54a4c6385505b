"""The boxes that a run finds in one scene, as tensors, as JSON, as a picture and for notebooks."""

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.layers.points.boxes import rows
from sparsefuse.layers.points.nouns import Boxes, Camera
from sparsefuse.media.png import png_of
from sparsefuse.report.pixels.palette import hexadecimal, palette
from sparsefuse.report.pixels.shown import data_url
from sparsefuse.report.points.drawn import SURE, from_above, on_picture, outlines_of
from sparsefuse.shown import shown

LEAST = 0.05
"""score below which a box is not kept in files"""
PICTURES = 3
"""most pictures that are drawn"""


class View(NamedTuple):
    """What boxes are drawn on."""

    xyz: np.ndarray
    """(N, 3) points, as the model read them"""
    colors: np.ndarray | None
    """(N, 3) uint8"""
    pictures: list[np.ndarray]
    """(H, W, 3) uint8"""
    cameras: list[Camera]


class Detections(NamedTuple):
    """The prediction for one scene."""

    boxes: Boxes
    """(1, M) of every class, the highest score first; all are real"""
    names: tuple[str, ...]
    """of the classes, in the order of their numbers"""
    view: View
    missing: list[str]
    """pictures that could not be read, and why"""

    def found(self, least: float = SURE) -> list[dict[str, Any]]:
        """The boxes of this score and more, as files of boxes have them: class, centre, size, yaw; and the score."""
        return [
            {
                "class": self.names[label],
                "score": round(score, 4),
                "centre": [round(value, 4) for value in row[:3]],
                "size": [round(value, 4) for value in row[3:6]],
                "yaw": round(row[6], 4),
            }
            for row, label, score in self._lists()
            if score >= least
        ]

    def to_json(self) -> dict[str, Any]:
        """Boxes and what is missing, as plain text and numbers."""
        return {"boxes": self.found(LEAST), "missing": self.missing}

    def pictures(self, least: float = SURE) -> list[np.ndarray]:
        """The cloud from above, then the first pictures, each (H, W, 3) uint8, with boxes of this score and more."""
        outlines = outlines_of(self.boxes, self.names, least)
        above = from_above(self.view.xyz, self.view.colors, outlines)
        shots = list(zip(self.view.pictures, self.view.cameras, strict=True))[:PICTURES]
        return [above, *(on_picture(picture, camera, outlines) for picture, camera in shots)]

    def png(self, least: float = SURE) -> bytes:
        """Those pictures side by side, as a file."""
        return png_of(beside(self.pictures(least)))

    def _lists(self) -> list[tuple[list[float], int, float]]:
        """Rows of 7, classes and scores."""
        parts = rows(self.boxes)[0].tolist(), self.boxes.label[0].tolist(), self.boxes.score[0].tolist()
        return list(zip(*parts, strict=True))

    def _repr_html_(self) -> str:
        """For notebooks: pictures, boxes, and what is missing."""
        images = "".join(f"<img src='{data_url(picture)}' height='280' alt=''>" for picture in self.pictures())
        colors = dict(zip(self.names, palette(len(self.names)), strict=True))
        lines = [
            f"<span style='background: {hexadecimal(colors[box['class']])}; display: inline-block; width: .8em; "
            f"height: .8em'></span> {escape(shown(box['class']))} {box['score']:.2f}"
            for box in self.found()
        ]
        lines += [f"without a picture: {escape(why)}" for why in self.missing]
        return images + "".join(f"<br>{line}" for line in lines)


def beside(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures in a row, on white."""
    height = max(len(picture) for picture in pictures)
    padded = [np.pad(p, ((0, height - len(p)), (0, 0), (0, 0)), constant_values=255) for p in pictures]
    return np.concatenate(padded, 1)
