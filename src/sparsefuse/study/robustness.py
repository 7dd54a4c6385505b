"""Accuracy of trained models when one modality is degraded: finished runs in, robustness.json in each out."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from sparsefuse.data.stats import measure as measure_stats
from sparsefuse.experiments.grid import Cell
from sparsefuse.files.whole import write_json
from sparsefuse.inference.evaluate import open_run, outputs
from sparsefuse.inference.predictor import Predictor
from sparsefuse.parallel.workers import each
from sparsefuse.runs.folder import RunFolder
from sparsefuse.screen import progress_console
from sparsefuse.study.results import ROBUSTNESS, DegradedAccuracy, Kind
from sparsefuse.tokens import Tokens
from sparsefuse.training.multiclip import Streams

LEVELS: dict[Kind, tuple[float, ...]] = {
    "noise": (0.5, 1.0, 2.0, 4.0),  # standard deviations of the training features
    "dropped": (0.25, 0.5, 0.75, 0.9),  # share of tokens
    "missing": (1.0,),  # the whole modality
}


def measure(cells: Sequence[Cell], *, jobs: int = 0) -> None:
    """Writes robustness.json into the folder of every finished cell that has none yet."""
    todo = [c.folder for c in cells if RunFolder(c.folder).finished and not (c.folder / ROBUSTNESS).exists()]
    jobs = min(jobs, len(todo)) if jobs else 0
    with closing(each(_write, todo, jobs)) as ended:
        for folder, done in track(ended, "robustness", total=len(todo), console=progress_console(), disable=not todo):
            if done is None:
                raise RuntimeError(f"{folder}: the process that degraded its clips died")


def curves(run: Path) -> list[DegradedAccuracy]:
    """The run's accuracy on its test clips under every kind and level, modality by modality.

    The only modality of a model is never dropped completely.
    """
    opened = open_run(run, trust_code=True)  # the cell has already run that code
    points = []
    modalities = opened.predictor.model.modalities
    std = _deviations(run, opened.predictor)
    clean = _top1(*outputs(opened))
    for modality in modalities:
        for kind, levels in LEVELS.items():
            if kind == "missing" and len(modalities) == 1:
                continue
            points.append(DegradedAccuracy(modality, kind, 0.0, clean))
            for level in levels:
                generator = torch.Generator().manual_seed(0)  # the same draws for models of the same modalities
                scored = outputs(
                    opened, lambda b, m=modality, k=kind, v=level, g=generator: degrade(b, m, k, v, g, std.get(m, 1.0))
                )
                points.append(DegradedAccuracy(modality, kind, level, _top1(*scored)))
    return points


def _deviations(run: Path, predictor: Predictor) -> dict[str, Tensor]:
    """Modality -> (F,) standard deviations of the training features; empty if features are normalised to 1."""
    if predictor.stats is not None:
        return {}
    train = open_run(run, split="train", trust_code=True).data
    train.fit = train.fit.scored(1)  # as training sees them
    return measure_stats(train[i] for i in range(len(train))).std


def degrade(
    tokens: Streams,
    modality: str,
    kind: Kind,
    level: float,
    generator: torch.Generator,
    std: Tensor | float = 1.0,
) -> Streams:
    """A batch with one of its streams made worse; a stream that loses tokens keeps at least one, and a clip the one
    stream it has. `std` of the features, (F,), is the unit of noise."""
    x, mask = tokens[modality]
    if kind == "noise":
        x = x + level * std * torch.randn(x.shape, generator=generator) * mask[..., None]
    elif kind == "dropped":
        draw = torch.rand(mask.shape, generator=generator)
        best = draw.masked_fill(~mask, -1.0).argmax(1, keepdim=True)
        mask = mask & (draw >= level).scatter(1, best, True)
    else:
        others = [other.mask.any(1, keepdim=True) for name, other in tokens.items() if name != modality]
        mask = mask & ~torch.stack(others).any(0)
    return {**tokens, modality: Tokens(x * mask[..., None], mask)}


def _write(run: Path) -> bool:
    write_json(run / ROBUSTNESS, [asdict(point) for point in curves(run)])
    return True


def _top1(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())
