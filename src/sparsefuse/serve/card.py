"""The facts of /card: a run folder in, plain JSON out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparsefuse.data.labels import Labels
from sparsefuse.files.typed import JSON, to_json
from sparsefuse.inference.predictor import Predictor
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Cost, Environment, ModelFacts, Result, Scores
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.upload import FILE
from sparsefuse.shown import counted

SCORES = {"top1": True, "map": True, "mae": False}
"""Metrics worth one line, and whether each is a share."""


@dataclass(frozen=True)
class Modality:
    """One modality; None where features are sent rather than extracted."""

    width: int
    extractor: str | None = None
    column: str | None = None
    kind: str | None = None
    """of what it is extracted from: video, audio, text, series ..."""


@dataclass(frozen=True)
class ClipLimits:
    """Limits of a clip, in the units of `limits.ServeLimits`."""

    mb: float
    seconds: float
    timeout: float
    tokens: Mapping[str, int]


@dataclass(frozen=True)
class Scored:
    """Scores and cost, as result.json has them; None for a run that was not scored."""

    valid: Scores | None = None
    test: Scores | None = None
    splits: Mapping[str, int] | None = None
    cost: Cost | None = None


@dataclass(frozen=True)
class ServerCard:
    """The facts behind /card."""

    name: str
    method: str
    modalities: Mapping[str, Modality]
    labels: Labels
    longest: Mapping[str, int]
    """tokens of the longest stream in training"""
    inputs: dict[str, str]
    """field of the form -> its description"""
    limits: ClipLimits
    results: Scored
    versions: Mapping[str, JSON]

    @classmethod
    def of(cls, run: Path, predictor: Predictor, limits: ServeLimits, most: dict[str, int]) -> "ServerCard":
        """Reads the run folder."""
        folder = RunFolder(run)
        facts, env, result = folder.read(ModelFacts), folder.get(Environment), folder.get(Result)
        modalities = {name: _modality(name, predictor) for name in predictor.model.modalities}
        return cls(
            facts.name,
            Path(facts.method).stem,
            modalities,
            facts.labels,
            facts.lengths,
            _inputs(modalities),
            ClipLimits(limits.max_mb, limits.max_seconds, limits.timeout, most),
            Scored(result.valid, result.test, result.splits, result.cost) if result else Scored(),
            to_json(replace(env, command=None)) if env else {},  # a command names folders of its machine
        )

    def facts(self) -> dict[str, JSON]:
        """The JSON of /card."""
        return {**to_json(self), "score": self.score}

    @property
    def score(self) -> str:
        """A score on held-out clips; empty if the run folder has none."""
        for split in ("test", "valid"):
            for name, score in ((self.results.test if split == "test" else self.results.valid) or {}).items():
                if name in SCORES:
                    value = f"{100 * score:.1f} %" if SCORES[name] else f"{score:.3g}"
                    count = (self.results.splits or {}).get(split)
                    return f"{name} {value} on {counted(count, f'{split} clip') if count else f'its {split} clips'}"
        return ""

    @property
    def texts(self) -> list[str]:
        """Fields that take text."""
        return [one.column for one in self.modalities.values() if one.kind == "text" and one.column]

    def example_json(self) -> dict[str, Any]:
        """A body of JSON: a text, or one token of zeros, per modality."""
        features = {name: [[0.0] * one.width] for name, one in self.modalities.items() if one.kind != "text"}
        texts = dict.fromkeys(self.texts, "what was said")
        return {key: values for key, values in (("features", features), ("texts", texts)) if values}


def _modality(name: str, predictor: Predictor) -> Modality:
    from sparsefuse.features import source_of

    width, spec = predictor.model.features[name], predictor.extract.get(name)
    if spec is None:
        return Modality(width)
    return Modality(width, spec["extractor"], spec["source"], source_of(spec["extractor"]))


_KINDS = {"text": "the text, or a file of it (.txt, .srt, .vtt, .csv, .json),", "series": "a file of readings (.csv)"}
"""what a modality is extracted from -> what is sent of it"""


def _inputs(modalities: Mapping[str, Modality]) -> dict[str, str]:
    """Fields of the form and their descriptions; a modality wins over a column of the same name."""
    inputs = {name: f"features, .npy of (N, {one.width})" for name, one in modalities.items()}
    for name, one in modalities.items():
        if one.kind and one.column:
            what = _KINDS.get(one.kind, f"the media file ({one.kind})")
            inputs[name] += f", or {what} to make them from"
            inputs.setdefault(one.column, f"{what} that {name} is made from")
    if any(one.kind for one in modalities.values()) or len(modalities) == 1:
        inputs.setdefault(FILE, "one file for all modalities")
    return inputs
