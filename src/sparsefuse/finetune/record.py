"""The new run folder: what the old one says, what was learnt, and how, in; the same files as training writes, out."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse import metrics
from sparsefuse.config import Config, Train
from sparsefuse.cost.count import count
from sparsefuse.files import checkpoint
from sparsefuse.files.skipped import write_skipped
from sparsefuse.files.whole import read_json, write_json, write_text
from sparsefuse.finetune.clips import Clips
from sparsefuse.finetune.effort import Effort
from sparsefuse.finetune.folds import Found
from sparsefuse.finetune.settings import Settings
from sparsefuse.finetune.trial import Trial
from sparsefuse.model import FusionModel
from sparsefuse.runs.folder import costs, environment, predictions_csv
from sparsefuse.training import replay


class Outcome(NamedTuple):
    """What adaptation gave."""

    model: FusionModel
    clips: Clips
    found: Found
    effort: Effort | None
    trial: Trial | None
    seconds: float
    """of the last fit, on all clips"""


def write_run(run: Path, out: Path, done: Outcome, settings: Settings, *, manifest: Path, measured: bool) -> None:
    """Writes all files of the new run; result.json last, so its presence means the run is whole.

    config.json stays the old run's, so that `eval` still finds the clips that it was trained and tested on.
    """
    facts = read_json(run / "model.json")
    origin = {
        "name": facts["name"],
        "weights": hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest(),
        "clips": done.clips.fingerprint,
    }
    facts |= {"name": f"{facts['name']}-finetuned", "labels": done.clips.labels.to_json(), "finetuned_from": origin}
    write_json(out / "config.json", read_json(run / "config.json"))
    write_json(out / "env.json", environment(Config(train=Train(device="cpu"), seed=settings.seed)))
    write_json(out / "model.json", facts)
    write_skipped(out / "skipped.jsonl", [*done.clips.skips, *(done.trial.clips.skips if done.trial else ())])
    write_text(out / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in done.found.lines))
    _write_weights(run, out, done)
    if settings.weights != "all" and (run / replay.FILE).is_file():  # below the kept states nothing has changed
        shutil.copyfile(run / replay.FILE, out / replay.FILE)
    if done.trial:
        write_text(out / "predictions.csv", predictions_csv(done.trial.predicted, done.clips.labels))
    write_json(out / "result.json", _result(run, facts, done, settings, manifest=manifest, measured=measured))


def _write_weights(run: Path, out: Path, done: Outcome) -> None:
    """The weights beside the old run's normalisation, which stays."""
    old = checkpoint.load(run / "model.safetensors")
    stats = {name: tensor for name, tensor in old.tensors.items() if not name.startswith("model/")}
    tensors = {**checkpoint.model_tensors(done.model), **stats}
    checkpoint.save(out / "model.safetensors", tensors, {"epoch": done.found.epochs})


def _result(
    run: Path, facts: dict[str, Any], done: Outcome, settings: Settings, *, manifest: Path, measured: bool
) -> dict[str, Any]:
    found, tried, labels = done.found, done.trial, done.clips.labels
    lengths = facts.get("typical", facts["lengths"])
    result: dict[str, Any] = {
        "method": facts["method"],
        "name": facts["name"],
        "seed": settings.seed,
        "fold": None,
        "task": labels.task,
        "classes": list(labels.classes),
        "data": str(manifest),
        "epochs": found.epochs,
        "best_epoch": found.epochs,
        "seconds": round(done.seconds, 3),
        "valid": found.after,
        "test": tried.after if tried else {},
        "splits": {"train": len(done.clips.samples), "valid": 0, "test": len(tried.clips.samples) if tried else 0},
        "clips": {"train": done.clips.fingerprint} | ({"test": tried.clips.fingerprint} if tried else {}),
        "skipped": len(done.clips.skips),
        "cost": costs(done.model, lengths, count(done.model, lengths), measured=measured),
        "finetune": {
            "from": run.name,
            "settings": settings.to_json(),
            "held_out": {"before": found.before, "after": found.after},
            "old": {"before": found.old_before, "after": found.old_after},
            "test": {"before": tried.before, "after": tried.after} if tried else {},
            "effort": done.effort._asdict() if done.effort else {},
        },
    }
    if labels.heads:
        result["heads"] = labels.heads
    if tried and labels.task != "regression":
        said = (tried.predicted.logits, tried.predicted.labels)
        result["per_class_ap"] = metrics.per_class_ap(*said, labels.task, heads=labels.heads)
        if labels.task == "class":
            result["confusion"] = metrics.confusion(*said)
        if labels.heads:
            result["confusions"] = metrics.confusions(*said, labels.heads)
    return result
