"""The boxes of a report: a few test scenes, a row each, with what every method finds, from above and in pictures."""

from collections.abc import Mapping, Sequence

from sparsefuse.layers.points.boxes import iou, rows
from sparsefuse.layers.points.nouns import Boxes
from sparsefuse.report.pixels.palette import hexadecimal, palette
from sparsefuse.report.pixels.section import Cell, Legend, Line, Section
from sparsefuse.report.pixels.shown import data_url
from sparsefuse.report.points.answers import Shown, shown_scenes
from sparsefuse.report.points.drawn import SURE, TRUE, Outline, from_above, on_picture, outlines_of
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.point_facts import PointFacts

SCENES = 3
FRAMES = 2
SIDE = 300
"""pixels of the longer side of a picture"""
OVERLAP = 0.25
"""from which a box is found"""
NOTE = (
    f"Dashed: true boxes; else what a method says with score {SURE:g} or more. Found: true boxes that such a one of "
    f"their class overlaps by more than {OVERLAP:g}. Pictures are shown for methods that read none, too."
)


def section(folders: Mapping[str, RunFolder], count: int = SCENES) -> Section | None:
    """Pictures of runs by name, a run each; None where there is nothing to show."""
    scenes = shown_scenes(folders, count, FRAMES) if folders else []
    if not scenes:
        return None
    names = next(iter(folders.values())).read(PointFacts).classes
    lines = [(scene.id, [_given(scene, names), *(_said(scene, name, names) for name in scene.answers)])
             for scene in scenes]  # fmt: skip
    return Section(lines, _legend(scenes, names), NOTE, wide=True)


def _given(scene: Shown, names: list[str]) -> Line:
    known = _known(scene, names)
    return Line("given", _cells(scene, known, f"{len(known)} boxes" if len(known) != 1 else "1 box"))


def _said(scene: Shown, name: str, names: list[str]) -> Line:
    boxes = scene.answers[name]
    found, total = count_found(boxes, scene.known)
    dashed = [outline._replace(text="") for outline in _known(scene, names)]
    return Line(name, _cells(scene, [*dashed, *outlines_of(boxes, names)], f"{found} of {total} found"))


def _cells(scene: Shown, outlines: Sequence[Outline], note: str) -> list[Cell]:
    cells = [Cell("from above", data_url(from_above(scene.xyz, scene.colors, outlines, side=SIDE)), note)]
    for i, (picture, camera) in enumerate(zip(scene.pictures, scene.cameras, strict=True), 1):
        title = "picture" if len(scene.pictures) == 1 else f"picture {i}"
        cells.append(Cell(title, data_url(on_picture(picture, camera, outlines, side=SIDE))))
    return cells


def _known(scene: Shown, names: list[str]) -> list[Outline]:
    box, label = rows(scene.known)[0].numpy(), scene.known.label[0].tolist()
    real = scene.known.mask[0].nonzero()[:, 0].tolist()
    return [Outline(box[i], TRUE, names[label[i]], dashed=True) for i in real]


def count_found(boxes: Boxes, known: Boxes) -> tuple[int, int]:
    """How many known boxes are found, and how many there are; of one scene, (1, M)."""
    sure = (boxes.mask & (boxes.score >= SURE))[0]
    real = known.mask[0]
    overlap = iou(rows(boxes)[0, sure].double(), rows(known)[0, real].double())  # (found, known)
    same = boxes.label[0, sure][:, None] == known.label[0, real]
    return int(((overlap > OVERLAP) & same).any(0).sum()), int(real.sum())


def _legend(scenes: Sequence[Shown], names: Sequence[str]) -> list[Legend]:
    """Of the classes that are drawn."""
    there = set[int]()
    for scene in scenes:
        for boxes in scene.answers.values():
            there |= set(boxes.label[boxes.mask & (boxes.score >= SURE)].tolist())
    colors = palette(len(names))
    return [Legend(name, hexadecimal(colors[i])) for i, name in enumerate(names) if i in there]
