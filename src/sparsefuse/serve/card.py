"""What a server says of its model: a run folder comes in, plain facts come out."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse.files.typed import to_json
from sparsefuse.inference.predictor import Predictor
from sparsefuse.runs.folder import Environment, ModelFacts, Result, RunFolder
from sparsefuse.serve.limits import Limits
from sparsefuse.serve.upload import FILE

SCORES = {"top1": True, "map": True, "mae": False}
"""Metrics worth one line, and whether each is a share."""


class Card(NamedTuple):
    """The facts behind /card."""

    name: str
    method: str
    modalities: dict[str, dict[str, Any]]
    """per modality: its width, and the extractor, the column and the kind of media that it is made from"""
    labels: dict[str, Any]
    longest: dict[str, int]
    """tokens of the longest stream in training"""
    inputs: dict[str, str]
    """field of the form -> what it takes"""
    limits: dict[str, Any]
    results: dict[str, Any]
    """accuracy and cost, as the run folder has them; empty for a run that was not scored"""
    versions: dict[str, Any]

    @classmethod
    def of(cls, run: Path, predictor: Predictor, limits: Limits, most: dict[str, int]) -> "Card":
        """Reads the run folder."""
        folder = RunFolder(run)
        facts, env = folder.read(ModelFacts), folder.get(Environment)
        modalities = {name: _modality(name, predictor) for name in predictor.model.modalities}
        return cls(
            facts.name,
            Path(facts.method).stem,
            modalities,
            {"task": predictor.labels.task, "classes": list(predictor.labels.classes), "heads": predictor.labels.heads},
            dict(facts.lengths),
            _inputs(modalities),
            {"mb": limits.max_mb, "seconds": limits.max_seconds, "timeout": limits.timeout, "tokens": most},
            _results(folder.get(Result)),
            to_json(env) if env else {},
        )

    @property
    def sources(self) -> set[str]:
        """The kinds of media that features are made from: video, audio, ...; empty if all features come ready-made."""
        return {facts["kind"] for facts in self.modalities.values() if "kind" in facts}

    @property
    def ready_made(self) -> list[str]:
        """The modalities whose features come ready-made."""
        return [name for name, facts in self.modalities.items() if "kind" not in facts]

    @property
    def score(self) -> str:
        """How good the model was on clips it had not seen; empty if the run folder does not say."""
        for split in ("test", "valid"):
            for name, found in self.results.get(split, {}).items():
                if name in SCORES:
                    value = f"{100 * found:.1f} %" if SCORES[name] else f"{found:.3g}"
                    count = self.results.get("splits", {}).get(split)
                    return f"{name} {value} on {count or 'its'} {split} clips"
        return ""

    def example(self) -> str:
        """A command that asks for a prediction."""
        if self.sources:
            return "curl -F file=@clip.mp4 {url}/predict"
        return "curl" + "".join(f" -F {name}=@{name}.npy" for name in self.modalities) + " {url}/predict"

    def example_json(self) -> dict[str, Any]:
        """A body of JSON: one token of zeros per modality."""
        return {"features": {name: [[0.0] * facts["width"]] for name, facts in self.modalities.items()}}

    def as_json(self) -> dict[str, Any]:
        """What /card sends."""
        return json.loads(json.dumps(self._asdict(), default=str))


def _modality(name: str, predictor: Predictor) -> dict[str, Any]:
    from sparsefuse.features import source_of

    facts: dict[str, Any] = {"width": predictor.model.features[name]}
    spec = predictor.extract.get(name)
    if spec is not None:
        facts |= {"extractor": spec["extractor"], "column": spec["source"], "kind": source_of(spec["extractor"])}
    return facts


def _inputs(modalities: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Later entries give way to earlier ones of the same name."""
    inputs = {name: f"features, .npy of (N, {facts['width']})" for name, facts in modalities.items()}
    for name, facts in modalities.items():
        if "kind" in facts:
            inputs[name] += f", or the media file ({facts['kind']}) to make them from"
            inputs.setdefault(facts["column"], f"media file ({facts['kind']}), for what is made from this column")
    if any("kind" in facts for facts in modalities.values()) or len(modalities) == 1:
        inputs.setdefault(FILE, "one file for all modalities")
    return inputs


def _results(result: Result | None) -> dict[str, Any]:
    return {name: to_json(result)[name] for name in ("valid", "test", "splits", "cost")} if result else {}
