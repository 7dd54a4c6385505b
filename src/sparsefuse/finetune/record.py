"""Writes the run folder of an adapted model: the same files as training writes."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sparsefuse.config import Config
from sparsefuse.cost.count import count
from sparsefuse.data.stats import Stats
from sparsefuse.finetune.clips import UserClips
from sparsefuse.finetune.effort import Effort
from sparsefuse.finetune.folds import Validated
from sparsefuse.finetune.settings import Settings
from sparsefuse.finetune.trial import Comparison
from sparsefuse.model import FusionModel
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Change, Finetune, ModelFacts, Origin, Result
from sparsefuse.runs.scoring import cost_of, write_result
from sparsefuse.runs.weights import write_weights
from sparsefuse.training.setup import environment


class Outcome(NamedTuple):
    """The result of adaptation."""

    model: FusionModel
    stats: Stats | None
    """the normalisation, unchanged"""
    clips: UserClips
    validated: Validated
    effort: Effort | None
    trial: Comparison | None
    seconds: float
    """of the last fit, on all clips"""


def write_run(
    run: RunFolder, out: RunFolder, done: Outcome, settings: Settings, *, manifest: Path, device: str, measured: bool
) -> None:
    """Writes all files of the new run; result.json last, so its presence means the run is complete.

    config.json stays the old run's, so that `eval` still finds the clips that it was trained and tested on.
    """
    facts = run.read(ModelFacts)
    weights = hashlib.sha256(run.weights.read_bytes()).hexdigest()
    origin = Origin(facts.name, weights, done.clips.fingerprint)
    facts = replace(facts, name=f"{facts.name}-finetuned", labels=done.clips.labels, finetuned_from=origin)
    out.write_located(run.read(Config))
    out.write(environment(device, settings.seed))
    out.write_located(facts)
    out.write_skips([*done.clips.skips, *(done.trial.clips.skips if done.trial else ())])
    out.write_epochs(done.validated.lines)
    write_weights(out, done.model, done.stats, {"epoch": done.validated.epochs})
    if settings.weights != "all" and run.replay.is_file():  # the layers below the replay states have not changed
        shutil.copyfile(run.replay, out.replay)
    result = _result(run, facts, done, settings, manifest=manifest, measured=measured)
    write_result(out, result, done.trial.predicted if done.trial else None, done.clips.labels)


def _result(
    run: RunFolder, facts: ModelFacts, done: Outcome, settings: Settings, *, manifest: Path, measured: bool
) -> Result:
    validated, trial, labels, before = done.validated, done.trial, done.clips.labels, run.get(Result)
    cost = cost_of(done.model, facts.typical, count(done.model, facts.typical), measured=measured)
    return Result(
        method=facts.method,
        name=facts.name,
        seed=settings.seed,
        fold=None,
        task=labels.task,
        classes=list(labels.classes),
        data=str(manifest),
        epochs=validated.epochs,
        best_epoch=validated.epochs,
        seconds=round(done.seconds, 3),
        valid=validated.after,
        test={},
        splits={"train": len(done.clips.samples), "valid": 0, "test": len(trial.clips.samples) if trial else 0},
        clips={"train": done.clips.fingerprint} | ({"test": trial.clips.fingerprint} if trial else {}),
        skipped=len(done.clips.skips),
        cost=replace(cost, features_gmacs=before.cost.features_gmacs if before else {}),
        finetune=Finetune(
            settings=settings.to_json(),
            held_out=Change(validated.before, validated.after),
            old=Change(validated.old_before, validated.old_after),
            test=Change(trial.before, trial.after) if trial else Change(),
            effort=done.effort._asdict() if done.effort else {},
            from_=run.path.name,
        ),
        heads=labels.heads or None,
    )
