"""The facts of /card of a run on pictures: a run folder in, plain JSON out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparsefuse.files.typed import JSON, to_json
from sparsefuse.inference.pixels.predictor import PixelPredictor
from sparsefuse.report.pixels.palette import hexadecimal, palette
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Environment, Result
from sparsefuse.serve.limits import ServeLimits

SCORES = {"miou": 100, "mae": 1}
"""metrics worth one line, and what they are multiplied by"""
WHAT = {
    "color": "a picture in color",
    "gray": "a picture in gray",
    "depth": "a depth picture, 16 bits PNG or .npy",
    "normal": "a picture of normals",
}


@dataclass(frozen=True)
class SceneStream:
    """One stream."""

    kind: str
    what: str


@dataclass(frozen=True)
class SceneCard:
    """The facts behind /card."""

    name: str
    method: str
    task: str
    streams: Mapping[str, SceneStream]
    classes: Mapping[str, str]
    """name -> color"""
    target: str
    """what the picture shows that it makes; empty in segmentation"""
    size: tuple[int, int]
    """rows and columns it was trained on"""
    resized: bool
    limits: Mapping[str, float]
    score: str
    versions: Mapping[str, JSON]

    @classmethod
    def of(cls, run: Path, predictor: PixelPredictor, limits: ServeLimits) -> "SceneCard":
        """Reads the run folder."""
        folder, facts = RunFolder(run), predictor.facts
        env, result = folder.get(Environment), folder.get(Result)
        kinds = {name: facts.streams[name].kind for name in predictor.streams}
        colors = map(hexadecimal, palette(len(facts.classes)))
        return cls(
            facts.name,
            Path(facts.method).stem,
            facts.task,
            {name: SceneStream(kind, _what(facts.stream(name).unit, kind)) for name, kind in kinds.items()},
            dict(zip(facts.classes, colors, strict=True)),
            facts.target.kind if facts.task == "translate" else "",
            facts.size,
            predictor.resize is not None,
            {"mb": limits.max_mb, "timeout": limits.timeout},
            _score(result),
            to_json(replace(env, command=None)) if env else {},  # a command names folders of its machine
        )

    def facts(self) -> dict[str, Any]:
        """The JSON of /card."""
        return to_json(self)


def _what(unit: float, kind: str) -> str:
    """`unit`: 0 if a file says it."""
    step = f"a step is {unit:g} m" if unit else "whole numbers are millimetres, fractions metres"
    return f"{WHAT[kind]}; {step}" if kind == "depth" else WHAT[kind]


def _score(result: Result | None) -> str:
    """A score on held-out scenes; empty if the run folder has none."""
    for split, scores in (("test", result.test), ("validation", result.valid)) if result else ():
        for name, factor in SCORES.items():
            if name in scores:
                return f"{name} {factor * scores[name]:.3g}{' %' * (factor == 100)} on its {split} scenes"
    return ""
