"""Draws the scenes of a report as one picture, for a page of the docs.

    python results/figure.py OUT.png RUN [RUN ...] [--scenes 2] [--side 1.5]

Run it from the folder that the runs were trained in. A line is what was given, or what a run says of it; with
`--joined` a line is a scene, with all that.
"""

import argparse
import base64
import io
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Patch

from sparsefuse.report.pixels import section as pixels
from sparsefuse.report.pixels.section import Cell, Legend, Line
from sparsefuse.report.points import section as points
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result

TITLE, NAME = 0.28, 1.0  # inches of the text above a picture, and of that at the left


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--scenes", type=int, default=2)
    parser.add_argument("--side", type=float, default=1.5, help="inches of a picture")
    parser.add_argument("--joined", action="store_true")
    options = parser.parse_args()
    folders = [RunFolder(run) for run in options.runs]
    make = points.section if folders[0].task == "detect" else pixels.section
    shown = make({folder.read(Result).name: folder for folder in folders}, options.scenes)
    if shown is None:
        raise SystemExit("nothing to draw: the scenes of the runs are not here")
    scenes = [joined(scene) if options.joined else scene for _, scene in shown.scenes]
    draw([line for scene in scenes for line in scene], shown.legend, options.side).savefig(options.out, dpi=100)
    print(options.out)


def joined(scene: list[Line]) -> list[Line]:
    """A scene as one line: what was given, then what each run says, under its name."""
    given, *said = scene
    return [Line("", [*given.cells, *(Cell(brief(line.title), *line.cells[0][1:]) for line in said)])]


def brief(name: str) -> str:
    """`sft`, or of a variant what varies: `edges+shade`."""
    return name.rpartition("=")[2]


def draw(lines: list[Line], legend: list[Legend], side: float) -> Figure:
    """Each line a row of pictures of one height, its name at the left, the legend below all."""
    columns, left = max(len(line.cells) for line in lines), NAME if any(line.title for line in lines) else 0.05
    width = left + columns * (side + 0.1)
    entries = max(1, int(width / 1.2))  # of the legend, side by side
    height = len(lines) * (side + TITLE) + 0.1 + 0.2 * -(-len(legend) // entries)
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    for row, line in enumerate(lines):
        bottom = height - (row + 1) * (side + TITLE)
        name, middle = fill(brief(line.title), 12), (bottom + side / 2) / height
        figure.text(0.05 / width, middle, name, fontsize=9, fontweight="bold", va="center")
        for column, cell in enumerate(line.cells):
            box = (left + column * (side + 0.1)) / width, bottom / height, side / width, side / height
            show(figure.add_axes(box), cell)
    if legend:
        patches = [Patch(color=color.color, label=color.name) for color in legend]
        figure.legend(handles=patches, loc="lower center", ncols=entries, fontsize=8, frameon=False)
    return figure


def show(axes: Any, cell: Cell) -> None:
    """One picture with its title."""
    axes.imshow(imread(io.BytesIO(base64.b64decode(cell.src.partition(",")[2])), format="png"), interpolation="nearest")
    axes.set_title(f"{cell.title}  {cell.note}".strip(), fontsize=8, pad=3)
    axes.set_axis_off()


if __name__ == "__main__":
    main()
