"""`sparsefuse ensemble`: finished runs in, one run folder that predicts by the mean of their calibrated logits out."""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sparsefuse.config import Config
from sparsefuse.cost import count
from sparsefuse.inference.evaluate import open_run, outputs
from sparsefuse.runs.calibration import calibrate
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.joined import Joined, join
from sparsefuse.runs.members import members_of
from sparsefuse.runs.records import ENSEMBLE, Result
from sparsefuse.runs.scoring import Predicted, cost_of, scores, write_result
from sparsefuse.runs.weights import write_weights
from sparsefuse.training.setup import environment

log = logging.getLogger(__name__)


def ensemble(
    runs: Sequence[str | Path],
    out: str | Path = "runs/ensemble",
    *,
    name: str = ENSEMBLE,
    measured: bool = True,
    trust_code: bool = False,
) -> Path:
    """Writes and returns the run folder `out` of an ensemble of finished runs; `sparsefuse.load` opens it as any other.

    Members may differ in all but task and classes; an ensemble among them counts as its members. It is calibrated on
    the validation clips and scored on the test clips if all members have the same ones: a test clip of one may have
    trained another. `measured`: measure latency and memory too.

    Raises FileNotFoundError for what is no run, FileExistsError if `out` holds one, ValueError for runs that do not go
    together; `trust_code` as in `load`.
    """
    if len(runs) < 2:
        raise ValueError(f"an ensemble is of two runs or more; got {len(runs)}")
    folders, out = [RunFolder(Path(run)) for run in runs], Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not empty; give another folder")
    joined = join(runs, name=name, trust_code=trust_code)
    half = out.parent / f".{out.name}"  # beside it: paths relative to the one are so to the other
    shutil.rmtree(half, ignore_errors=True)  # left by one that was stopped
    half.mkdir(parents=True)
    folder, config = RunFolder(half), _config(folders[0].read(Config), joined)
    folder.write_located(config)
    folder.write_located(joined.facts)
    folder.write(environment("cpu", config.seed))
    write_weights(folder, joined.model, None, {})
    seen = [each.seen() for each in folders]
    if all(hashes is not None for hashes in seen):  # else it cannot tell
        folder.write_seen(sorted(set().union(*(hashes or () for hashes in seen))))
    results = [result for each in folders if (result := each.get(Result))]
    encoders = {name: gmacs for result in results for name, gmacs in result.cost.features_gmacs.items()}
    _score(folder, config, joined, encoders, measured=measured, trust_code=trust_code)
    if out.is_dir():
        out.rmdir()
    os.replace(half, out)
    return out


def _config(first: Config, joined: Joined) -> Config:
    """The first member's, with the modalities of all; what the members are is in model.json."""
    return replace(first, data=replace(first.data, modalities=sorted(joined.facts.features)), method=ENSEMBLE)


def _score(
    folder: RunFolder,
    config: Config,
    joined: Joined,
    encoders: Mapping[str, float],
    *,
    measured: bool,
    trust_code: bool,
) -> None:
    """calibration.json, predictions.csv and result.json. `encoders`: what made the features costs, by modality."""
    facts, found = joined.facts, dict[str, Predicted]()
    there = Path(config.data.manifest).is_file()
    if not there:
        log.warning("%s is not there: the ensemble is not scored", config.data.manifest)
    for split in ("valid", "test"):
        if there and split in facts.clips and facts.clips[split].count:
            opened = open_run(folder.path, split=split, trust_code=trust_code)
            if opened.seen.any():
                count_seen = int(opened.seen.sum())
                log.warning("a member has seen %d of the test clips: the ensemble is not scored on them", count_seen)
                continue
            found[split] = Predicted(*outputs(opened), [row.id for row in opened.data.rows])
    if "valid" in found and (calibration := calibrate(found["valid"].logits, found["valid"].labels, facts.labels)):
        folder.write(calibration)
    members = zip(members_of(joined.model), facts.models, strict=True)
    each = [count.count(member.model, dict(model.typical)) for member, model in members]
    counted = count.CountedCost(*map(sum, zip(*each, strict=True)))
    cost = cost_of(joined.model, facts.typical, counted, measured=measured)
    result = Result(
        method=ENSEMBLE,
        name=facts.name,
        seed=config.seed,
        fold=config.data.split.number,
        task=facts.labels.task,
        classes=list(facts.labels.classes),
        data=config.data.manifest,
        epochs=0,
        best_epoch=0,
        seconds=0.0,
        valid=scores(found.get("valid"), facts.labels),
        test={},
        splits={split: clips.count for split, clips in facts.clips.items()},
        clips=facts.clips,
        skipped=0,
        cost=replace(cost, features_gmacs=dict(encoders)),
        heads=facts.labels.heads or None,
    )
    write_result(folder, result, found.get("test"), facts.labels)
