"""The pictures of a report: a few test scenes, a row each, with what every method says and where it errs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sparsefuse.config.pixels import Kind
from sparsefuse.report.pixels.answers import Answer, Shown, shown_scenes
from sparsefuse.report.pixels.palette import UNKNOWN, colored, hexadecimal, palette
from sparsefuse.report.pixels.shown import HOLE, data_url, over, seen, smaller, warm
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts

SCENES = 4
BROAD = 160
"""most pixels of a side of a picture"""
EXCHANGED = "Exchanged: where layers replaced a stream's token by another stream's, darker where more of them did."
WRONG = (200, 30, 30)
"""where a class is not the true one"""
WORST = 0.5
"""absolute error of a picture from -1 to 1 that is drawn darkest"""


class Cell(NamedTuple):
    """One picture."""

    title: str
    src: str
    note: str = ""


class Line(NamedTuple):
    """One scene, or what one method says of it."""

    title: str
    cells: list[Cell]


class Legend(NamedTuple):
    """One color."""

    name: str
    color: str


class Section(NamedTuple):
    """What the template shows."""

    scenes: list[tuple[str, list[Line]]]
    """id -> its lines"""
    legend: list[Legend]
    note: str
    wide: bool = False
    """whether pictures are drawings, with text and lines, in place of pixels"""


def section(folders: Mapping[str, RunFolder], count: int = SCENES) -> Section | None:
    """Pictures of runs by name, a run each; None where there is nothing to show."""
    scenes = shown_scenes(folders, count) if folders else []
    if not scenes:
        return None
    facts = next(iter(folders.values())).read(PixelFacts)
    draw = _Labels(facts) if facts.task == "segment" else _Picture(facts)
    lines = [(scene.id, [_given(scene, facts, draw), *(_said(scene, name, draw) for name in scene.answers)])
             for scene in scenes]  # fmt: skip
    exchanged = any(answer.exchanged for scene in scenes for answer in scene.answers.values())
    return Section(lines, draw.legend(scenes), f"{draw.note} {EXCHANGED}" if exchanged else draw.note)


def _given(scene: Shown, facts: PixelFacts, draw: "_Labels | _Picture") -> Line:
    cells = [_cell(name, seen(x, _kind(facts, name))) for name, x in scene.streams.items()]
    return Line("given", [*cells, _cell(draw.truth, draw.true(scene.target))])


def _said(scene: Shown, name: str, draw: "_Labels | _Picture") -> Line:
    answer = scene.answers[name]
    errors, note = draw.errors(answer, scene.target)
    cells = [_cell("says", draw.said(answer)), _cell("errs", errors, note)]
    for stream, share in answer.exchanged.items():
        picture = seen(scene.streams[stream], draw.kinds[stream]) if stream in scene.streams else draw.said(answer)
        title, note = f"exchanged in {stream}", f"{100 * share.mean():.0f} %"
        cells.append(_cell(title, over(picture, warm(share, 1.0), share > 0, strength=0.75), note))
    return Line(name, cells)


class _Labels:
    """Segmentation."""

    truth = "true classes"
    note = "Errs: pixels of another class than the true one, in red."

    def __init__(self, facts: PixelFacts):
        self.classes = facts.classes
        self.kinds: dict[str, Kind] = {name: _kind(facts, name) for name in facts.streams}

    def true(self, target: np.ndarray) -> np.ndarray:
        return colored(target, len(self.classes))

    def said(self, answer: Answer) -> np.ndarray:
        return colored(answer.values, len(self.classes))

    def errors(self, answer: Answer, target: np.ndarray) -> tuple[np.ndarray, str]:
        known = (target >= 0) & (target < len(self.classes))
        wrong = known & (answer.values != target)
        share = wrong.sum() / max(int(known.sum()), 1)
        gray = np.full((*target.shape, 3), 235, np.uint8)
        gray[~known] = UNKNOWN
        gray[wrong] = WRONG
        return gray, f"{100 * share:.1f} %"

    def legend(self, scenes: Sequence[Shown]) -> list[Legend]:
        """Of the classes that occur in these scenes."""
        there = set[int]()
        for scene in scenes:
            for labels in (scene.target, *(answer.values for answer in scene.answers.values())):
                there |= set(np.unique(labels).tolist())
        colors = palette(len(self.classes))
        found = [Legend(name, hexadecimal(colors[i])) for i, name in enumerate(self.classes) if i in there]
        unknown = [Legend("no label", hexadecimal(UNKNOWN))] if there - set(range(len(self.classes))) else []
        return [*found, *unknown, *_holes(self.kinds)]


class _Picture:
    """Translation."""

    truth = "target"
    note = f"Errs: absolute error, mean over channels, of values from -1 to 1: white 0, darkest {WORST:g} or more."

    def __init__(self, facts: PixelFacts):
        kind = facts.target.kind
        assert kind != "auto", "a run knows what it translates to"
        self.kind: Kind = kind
        self.kinds: dict[str, Kind] = {name: _kind(facts, name) for name in facts.streams}
        self.middle, self.half = facts.target_scale

    def true(self, target: np.ndarray) -> np.ndarray:
        return seen(target, self.kind)

    def said(self, answer: Answer) -> np.ndarray:
        return seen(self._units(answer.values), self.kind)

    def errors(self, answer: Answer, target: np.ndarray) -> tuple[np.ndarray, str]:
        known = np.ones(target.shape[:2], bool)
        if self.kind == "depth":
            known, target = target[..., 1] > 0, target[..., :1]
        elif self.kind == "normal":
            known = target.any(2)
        error = np.abs(self._units(answer.values) - target).mean(2) / self.half
        picture = warm(error, WORST)
        picture[~known] = HOLE
        mean = error[known].mean() if known.any() else 0.0
        return picture, f"{mean:.3f}"

    def legend(self, scenes: Sequence[Shown]) -> list[Legend]:
        none = [Legend("no normal", hexadecimal(HOLE))] if self.kind == "normal" else []
        return [*_holes({**self.kinds, "": self.kind}), *none]

    def _units(self, values: np.ndarray) -> np.ndarray:
        """From -1 to 1 -> as measured."""
        return values * self.half + self.middle


def _holes(kinds: Mapping[str, Kind]) -> list[Legend]:
    return [Legend("no depth measured", hexadecimal(HOLE))] if "depth" in kinds.values() else []


def _kind(facts: PixelFacts, name: str) -> Kind:
    kind = facts.streams[name].kind
    assert kind != "auto", "a run knows its streams"
    return kind


def _cell(title: str, pixels: np.ndarray, note: str = "") -> Cell:
    return Cell(title, data_url(smaller(pixels, BROAD)), note)
