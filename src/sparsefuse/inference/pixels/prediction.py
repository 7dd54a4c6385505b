"""What a run says of one scene, as arrays, as a PNG file and for notebooks."""

from html import escape
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.config.pixels import Kind
from sparsefuse.media.png import png_of
from sparsefuse.report.pixels.palette import colored, hexadecimal, palette
from sparsefuse.report.pixels.shown import data_url, seen, smaller
from sparsefuse.shown import shown

BROAD = 256
"""most pixels of a side in a notebook"""
LISTED = 24
"""most classes in its legend"""


class PixelPrediction(NamedTuple):
    """The prediction for one scene: labels or a picture."""

    labels: np.ndarray | None
    """(H, W) uint8, or uint16 of more than 256 classes: numbers of classes; None in translation"""
    picture: np.ndarray | None
    """(H, W, C) float32: color and gray from 0 to 1, depth in metres, normals as unit vectors; None in segmentation"""
    names: tuple[str, ...]
    """of the classes, in the order of their numbers"""
    kind: Kind | None
    """what the picture shows"""
    missing: dict[str, str]
    """streams the scene lacks, and why"""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        pixels = self.picture if self.labels is None else self.labels
        assert pixels is not None, "a prediction has labels or a picture"
        return pixels.shape[0], pixels.shape[1]

    @property
    def shares(self) -> dict[str, float]:
        """Class -> its share of the pixels, of those that occur, the largest first; empty in translation."""
        if self.labels is None:
            return {}
        return {self.names[i]: count / self.labels.size for i, count in self._counts()}

    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8, as it is shown."""
        if self.labels is not None:
            return colored(self.labels, len(self.names))
        assert self.picture is not None, "a prediction has labels or a picture"
        assert self.kind is not None, "a picture shows something"
        return seen(self.picture, self.kind)

    def png(self) -> bytes:
        """As a file: labels as numbers with a palette (16 bits gray of more than 256 classes), depth as 16 bits of
        millimetres, anything else as 8 bits."""
        if self.labels is not None:
            return png_of(self.labels, palette(len(self.names)) if self.labels.dtype == np.uint8 else None)
        if self.picture is not None and self.kind == "depth":
            return png_of((1000 * self.picture[..., 0]).clip(0, 2**16 - 1).round().astype(np.uint16))
        pixels = self.pixels()
        return png_of(pixels[..., 0] if self.kind == "gray" else pixels)

    def legend(self) -> list[dict[str, Any]]:
        """Number, name, color and share of each class that occurs, the largest first."""
        if self.labels is None:
            return []
        colors, total = palette(len(self.names)), self.labels.size
        return [
            {"number": i, "name": self.names[i], "color": hexadecimal(colors[i]), "share": round(count / total, 6)}
            for i, count in self._counts()
        ]

    def _counts(self) -> list[tuple[int, int]]:
        """(class, its pixels) of those that occur, the largest first."""
        assert self.labels is not None, "a picture has no classes"
        numbers, counts = np.unique(self.labels, return_counts=True)
        return sorted(zip(numbers.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])

    def to_json(self) -> dict[str, Any]:
        """Size, legend and what is missing, as plain text and numbers; the pixels are in `png`."""
        height, width = self.size
        return {"height": height, "width": width, "classes": self.legend(), "missing": self.missing}

    def _repr_html_(self) -> str:
        """For notebooks: the picture, its legend, and what is missing."""
        image = f"<img src='{data_url(smaller(self.pixels(), BROAD))}' style='image-rendering: pixelated' alt=''>"
        lines = [
            f"<span style='background: {one['color']}; display: inline-block; width: .8em; height: .8em'></span> "
            f"{escape(shown(one['name']))} {100 * one['share']:.1f} %"
            for one in self.legend()[:LISTED]
        ]
        lines += [f"without {escape(shown(name))}: {escape(why)}" for name, why in self.missing.items()]
        return image + "".join(f"<br>{line}" for line in lines)


def label_type(classes: int) -> type[np.unsignedinteger[Any]]:
    """The array type that holds the numbers of so many classes."""
    return np.uint8 if classes <= 256 else np.uint16
