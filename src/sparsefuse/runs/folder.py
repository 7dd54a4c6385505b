"""What a run folder says besides weights: set-up before the first step, scores and predictions after the last."""

import csv
import io
import json
import logging
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsefuse import metrics
from sparsefuse.config import Config
from sparsefuse.cost.count import Cost
from sparsefuse.cost.measure import measure
from sparsefuse.data.clips import Clips
from sparsefuse.data.fingerprint import difference
from sparsefuse.data.labels import Labels
from sparsefuse.files.skipped import write_skipped
from sparsefuse.files.whole import read_json, write_json, write_text
from sparsefuse.model import FusionModel
from sparsefuse.runs.calibration import calibrate, write_calibration

log = logging.getLogger(__name__)


class Predicted(NamedTuple):
    """The outputs for one split, in the order of its samples."""

    logits: Tensor
    """(n, C)"""
    labels: Tensor
    """(n,), (n, C) or (n, H)"""
    ids: list[str]


def write_setup(out: Path, config: Config, clips: Clips, options: dict[str, Any], name: str) -> None:
    """All that is known before the first step: config.json, env.json, model.json and skipped.jsonl.

    Raises ValueError, before it writes, if the run in `out` was started with other clips.
    """
    check_same_clips(clips, out)
    check_same_labels(clips, out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", asdict(config))
    write_json(out / "env.json", environment(config))
    write_skipped(out / "skipped.jsonl", clips.skips)
    extracted = clips.splits["train"].root / "features.json"
    facts = {
        "name": name,
        "method": config.method,
        "options": options,
        "features": clips.features,
        "lengths": clips.longest,
        "typical": clips.typical,
        "labels": clips.labels.to_json(),
        "clips": clips.fingerprints,
        "normalised": clips.stats is not None,
        "max_length": config.data.max_length,
        "resample": config.data.resample,
        "windows": config.data.windows,
        "extract": read_json(extracted) if extracted.is_file() else None,
    }
    write_json(out / "model.json", facts)
    if clips.skips:
        log.warning("%d samples or modalities left out; %s names them", len(clips.skips), out / "skipped.jsonl")


def check_same(config: Config, out: Path) -> None:
    """Raises ValueError, naming what differs, if the run in `out` was started with another configuration."""
    check_same_settings(read_json(out / "config.json"), asdict(config), out)


def check_same_settings(started: dict[str, Any], given: dict[str, Any], out: Path) -> None:
    """Raises ValueError, naming the first setting that differs from those that what is in `out` was started with."""
    usual = _flat(asdict(Config()))  # of a setting that the version which started it did not have
    before, now = usual | _flat(started), usual | _flat(json.loads(json.dumps(given)))
    changed = [key for key in before | now if before.get(key) != now.get(key) and not key.startswith(_FREE)]
    if changed:
        key = changed[0]
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ValueError(
            f"{out} was started with {key}={before.get(key)!r}, not {now.get(key)!r}{more}; "
            "give another folder, or remove this one"
        )


def check_same_clips(clips: Clips, out: Path, noted: str = "model.json") -> None:
    """Raises ValueError, saying what differs, if what is in `out` was started with other clips, labels or splits.

    `noted`: the file that holds them.
    """
    before = read_json(out / noted).get("clips") if (out / noted).is_file() else None
    changed = difference(before, clips.fingerprints) if before else ""
    if changed:
        raise ValueError(
            f"{out} was started with other clips ({changed}): the manifest or its files changed since; "
            "restore them, give another folder, or remove this one"
        )


def check_same_labels(clips: Clips, out: Path) -> None:
    """Raises ValueError if the run in `out` was started with other classes: equal clips, but another list of them."""
    before = read_json(out / "model.json")["labels"] if (out / "model.json").is_file() else None
    if before and Labels.from_json(before) != clips.labels:
        raise ValueError(
            f"{out} was started with other classes: a list that data.classes names changed since; restore it, give "
            "another folder, or remove this one"
        )


# What changes how a run goes, not where it ends.
_FREE = ("train.workers", "train.save_minutes", "train.device", "data.cache_mb", "study.")


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """{a: {b: 1}} -> {a.b: 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return flat


def finished(folder: Path, *, tested: bool = True) -> bool:
    """Whether a run has all its results; `tested`: those of the test split too, if it has one."""
    if not (folder / "result.json").exists():
        return False
    result = read_json(folder / "result.json")
    return not tested or bool(result["test"]) or not result["splits"]["test"]


def write_result(
    out: Path,
    config: Config,
    clips: Clips,
    model: FusionModel,
    valid: Predicted | None,
    test: Predicted | None,
    counted: Cost,
    *,
    measured: bool,
) -> None:
    """Scores and costs of the best checkpoint, in predictions.csv and result.json, and calibration.json; the test split
    is used here only."""
    task, heads = clips.labels.task, clips.labels.heads
    best = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    facts = read_json(out / "model.json")
    if valid:
        write_calibration(out, calibrate(valid.logits, valid.labels, clips.labels))
    result: dict[str, Any] = {
        "method": config.method,
        "name": facts["name"],
        "seed": config.seed,
        "fold": fold_of(config),
        "task": task,
        "classes": list(clips.labels.classes),
        "data": config.data.manifest,
        "epochs": best["epoch"],
        "best_epoch": best_epoch(out),
        "seconds": best["seconds"],
        "valid": metrics.scores(valid.logits, valid.labels, task, heads=heads) if valid else {},
        "test": metrics.scores(test.logits, test.labels, task, heads=heads) if test else {},
        "splits": {name: len(data) for name, data in clips.splits.items()},
        "clips": clips.fingerprints,
        "skipped": len(clips.skips),
        "cost": costs(model, clips.typical, counted, measured=measured),
    }
    if heads:
        result["heads"] = heads
    if test and task != "regression":
        result["per_class_ap"] = metrics.per_class_ap(test.logits, test.labels, task, heads=heads)
    if test and task == "class":
        result["confusion"] = metrics.confusion(test.logits, test.labels)
    if test and heads:
        result["confusions"] = metrics.confusions(test.logits, test.labels, heads)
    if test:
        write_text(out / "predictions.csv", predictions_csv(test, clips.labels))
    write_json(out / "result.json", result)


def fold_of(config: Config) -> int | None:
    """Which of the configuration's folds is its test split."""
    split = config.data.split
    return split.folds.index(split.test_groups) if split.test_groups in split.folds else None


def best_epoch(out: Path) -> int:
    """The epoch whose weights were kept: the first with the lowest validation (else training) loss."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return min(lines, key=lambda line: line.get("valid_loss", line["train_loss"]))["epoch"]


def costs(model: FusionModel, lengths: dict[str, int], counted: Cost, *, measured: bool) -> dict[str, Any]:
    """Cost of one clip of typical length, as result.json holds it; latency and memory only if `measured`."""
    found: dict[str, Any] = {
        "gmacs": counted.total / 1e9,
        "layers_gmacs": counted.layers / 1e9,
        "paper_gmacs": counted.paper / 1e9,
        "parameters": counted.parameters,
        "lengths": {name: lengths[name] for name in model.modalities},
    }
    return found | (measure(model, lengths)._asdict() if measured else {})


def predictions_csv(found: Predicted, labels: Labels) -> str:
    """One line per test sample: id, label, prediction and the probability of each class (the value for regression), as
    trained: without the temperature, so that studies can say how sure methods are of themselves."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "label", "predicted", *labels.classes])
    logits = found.logits.float().cpu()
    shares = metrics.probabilities(logits, labels.task, heads=labels.heads)[:, : len(labels.classes)]
    for name, truth, row, share in zip(found.ids, found.labels.cpu(), logits, shares, strict=True):
        said = [labels.text(truth), labels.text(labels.likeliest(row))]
        writer.writerow([name, *said, *(f"{float(p):.6f}" for p in share)])
    return text.getvalue()


def environment(config: Config) -> dict[str, Any]:
    """Versions, machine, commit and command: what a rerun needs to know."""
    device = config.train.device
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return {
        "sparsefuse": version("sparsefuse"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else f"{os.cpu_count()} CPU cores",
        "threads": torch.get_num_threads(),
        "commit": _commit(),
        "command": shlex.join(["sparsefuse", *sys.argv[1:]]),
        "seed": config.seed,
    }


def _commit() -> str:
    """The commit of the code that runs, with + if it is changed; empty outside a repository."""
    here = Path(__file__).parent
    try:
        call = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        return subprocess.run(call, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
