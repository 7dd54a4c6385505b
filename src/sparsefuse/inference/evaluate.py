"""Scoring a finished run again: a run folder and a split or a manifest in, scores out."""

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse import metrics
from sparsefuse.config import Config
from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.data.batches import LengthBuckets
from sparsefuse.data.dataset import ClipDataset
from sparsefuse.data.fingerprint import difference, fingerprints
from sparsefuse.data.manifest import GROUP, Row, read_manifest
from sparsefuse.data.prepare import prepare
from sparsefuse.data.split import split_rows
from sparsefuse.files.skipped import lost
from sparsefuse.inference.pixels.evaluate import evaluate_pixels
from sparsefuse.inference.points.evaluate import evaluate_points
from sparsefuse.inference.predictor import Predictor, load
from sparsefuse.runs.calibration import calibrate
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts
from sparsefuse.training import multiclip

log = logging.getLogger(__name__)


class Opened(NamedTuple):
    """A finished run with clips to score it on."""

    predictor: Predictor
    data: ClipDataset
    batches: list[list[int]]
    skipped: int
    seen: Tensor
    """(n,) bool: clips of a manifest that the model was trained or validated on"""


def evaluate(
    run: Path,
    *,
    split: str = "test",
    manifest: Path | None = None,
    batch_size: int = 24,
    calibrated: bool = False,
    device: str = "cpu",
    trust_code: bool = False,
) -> dict[str, float]:
    """Scores of the run's best model, with the number of clips (`clips`) and of those left out (`skipped`).

    If a manifest holds clips that the model was trained or validated on, `seen` is their number, and the scores of the
    other clips, `new`, are there too: `new_top1`, ...
    Reads the run's own data as its config.json names it, or all rows of `manifest`.
    `calibrated` fits the run's temperature to these clips and writes it to the run. Raises ValueError if the run's own
    data is not what it was when the run began, or to fit to its test split. `trust_code`: see `predictor.load`.
    """
    task = RunFolder(run).task
    if task in (*PIXEL_TASKS, *POINT_TASKS):
        what, score = ("pictures", evaluate_pixels) if task in PIXEL_TASKS else ("clouds", evaluate_points)
        if calibrated:
            raise ValueError(f"a temperature is fitted to clips; {run} reads {what}: leave --calibrate out")
        return score(run, split=split, manifest=manifest, device=device)
    if calibrated and manifest is None and split != "valid":
        raise ValueError(
            f"the temperature must not be fitted to the {split} split; give --split valid, or --manifest with new clips"
        )
    opened = open_run(run, split=split, manifest=manifest, batch_size=batch_size, device=device, trust_code=trust_code)
    logits, labels = outputs(opened)
    model_labels = opened.predictor.labels
    scores = metrics.scores(logits, labels, model_labels.task, heads=model_labels.heads)
    if opened.seen.any():
        logits, labels = logits[~opened.seen], labels[~opened.seen]
        scores |= {"seen": int(opened.seen.sum()), "new": len(labels)}
        if len(labels):
            new = metrics.scores(logits, labels, model_labels.task, heads=model_labels.heads)
            scores |= {f"new_{name}": score for name, score in new.items()}
        elif calibrated:
            raise ValueError(f"the temperature must not be fitted to clips of training; all of {manifest} are")
    if calibrated and (calibration := calibrate(logits, labels, model_labels)):
        RunFolder(run).write(calibration)
        scores |= {"temperature": calibration.temperature, "calibrated_loss": calibration.loss}
    return {**scores, "clips": len(opened.data), "skipped": opened.skipped}


def open_run(
    run: Path,
    *,
    split: str = "test",
    manifest: Path | None = None,
    batch_size: int = 24,
    device: str = "cpu",
    trust_code: bool = False,
) -> Opened:
    """The run's best model and a split of its own data, or all rows of `manifest`; see `evaluate`."""
    predictor = load(run, device=device, trust_code=trust_code)
    data = RunFolder(run).read(Config).data
    path = manifest or Path(data.manifest)
    listing = read_manifest(
        path,
        label=data.label,
        separator=data.separator,
        modalities=list(predictor.model.features),
        group=GROUP if manifest else data.group,  # of another manifest, which is not divided, none is needed
    )
    rows: dict[str, list[Row]] = {"all": listing.rows}
    if manifest is None:
        rows = {split: split_rows(listing, data.split, predictor.labels.task)[split]}
    prepared = prepare(
        rows,
        listing.root,
        modalities=listing.modalities,
        labels=predictor.labels,
        features=predictor.model.features,
        fit=predictor.fit,
    )
    ((name, usable),) = prepared.rows.items()
    if prepared.skips:
        first = prepared.skips[0]
        log.warning("%s left out; the first is %s: %s", lost(len(prepared.skips)), first.id, first.reason)
    facts = RunFolder(run).read(ModelFacts)
    before = facts.clips
    if manifest is None and facts.members is not None and split not in before:
        raise ValueError(
            f"the members of {run} do not have the same {split} clips, so that one may have been trained on another's; "
            "score new clips with --manifest"
        )
    changed = difference(before, fingerprints(prepared.rows)) if manifest is None else ""
    if changed:
        raise ValueError(
            f"{listing.path} is not what {run} was trained with ({changed}), so that training clips may be scored "
            "as new; restore the manifest and its files, or score new clips with --manifest"
        )
    dataset = ClipDataset(
        usable,
        predictor.labels,
        listing.root,
        modalities=tuple(predictor.model.features),
        stats=predictor.stats,
        fit=predictor.fit,
    )
    batches = LengthBuckets(prepared.lengths[name], batch_size, seed=0, shuffle=False).epoch(0)
    seen = torch.zeros(len(usable), dtype=torch.bool)
    if manifest is not None:
        seen = seen_clips(RunFolder(run), [[prepared.hashes[ref] for ref in row.files.values()] for row in usable])
    elif (
        facts.members is not None and split == "test"
    ):  # which ids alone do not tell: members may be of other manifests
        known = RunFolder(run).seen() or set()
        hashes = [{prepared.hashes[ref] for ref in row.files.values()} for row in usable]
        seen = torch.tensor([clip <= known for clip in hashes], dtype=torch.bool)
    return Opened(predictor, dataset, batches, len(prepared.skips), seen)


def seen_clips(run: RunFolder, clips: Sequence[Collection[str]]) -> Tensor:
    """(n,) bool: which clips, each the hashes of its streams (see `contents.hash_of`), the run was trained or validated
    on; warns if there are some, or if the run cannot tell."""
    known = run.seen()
    if known is None:
        log.warning("%s does not say which clips it was trained on; some of these clips may be among them", run.path)
        return torch.zeros(len(clips), dtype=torch.bool)
    seen = torch.tensor([not known.isdisjoint(hashes) for hashes in clips], dtype=torch.bool)
    if seen.any():
        log.warning(
            "the model was trained or validated on %d of these %d clips; the others are scored apart",
            int(seen.sum()), len(clips),
        )  # fmt: skip
    return seen


def outputs(
    opened: Opened, change: Callable[[multiclip.Streams], multiclip.Streams] = lambda tokens: tokens
) -> tuple[Tensor, Tensor]:
    """Logits (n, C) and labels of the clips, batch by batch, each changed before the model sees it."""
    predictor, data = opened.predictor, opened.data
    logits = multiclip.predict(
        predictor.model, data, predictor.fit, predictor.labels.num_outputs, batches=opened.batches, change=change
    )
    return logits.cpu(), torch.stack([data.labels.encode(row.label) for row in data.rows])
