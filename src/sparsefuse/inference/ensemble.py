"""`sparsefuse ensemble`: finished runs in, one run folder that predicts by the mean of their calibrated logits out."""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

from sparsefuse.config import Config, Data
from sparsefuse.cost import count
from sparsefuse.data.fingerprint import difference
from sparsefuse.inference.evaluate import open_run, outputs
from sparsefuse.inference.predictor import Predictor, load
from sparsefuse.model import FusionModel
from sparsefuse.runs.calibration import calibrate
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.members import Member, ensemble_of, members_of
from sparsefuse.runs.records import ENSEMBLE, MemberFacts, ModelFacts, Result
from sparsefuse.runs.scoring import Predicted, cost_of, scores, write_result
from sparsefuse.runs.weights import write_weights
from sparsefuse.training.setup import environment

log = logging.getLogger(__name__)


class Joined(NamedTuple):
    """What several runs are as one."""

    facts: ModelFacts
    model: FusionModel


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
    _score(folder, config, joined, measured=measured, trust_code=trust_code)
    if out.is_dir():
        out.rmdir()
    os.replace(half, out)
    return out


def join(runs: Sequence[str | Path], *, name: str = ENSEMBLE, trust_code: bool = False) -> Joined:
    """Finished runs as one model of raw features. Raises the errors of `load`, ValueError for different classes, or a
    modality that they do not read alike."""
    facts = [RunFolder(Path(run)).read(ModelFacts) for run in runs]
    predictors = [load(run, trust_code=trust_code) for run in runs]
    for run, each in zip(runs, facts, strict=True):
        _check_alike(str(runs[0]), facts[0], str(run), each)
    specs = {name: spec for each in facts for name, spec in each.extractors.items()}
    extracts = [each.extract for each in facts if each.extract]
    models = [(model, member) for each, predictor in zip(facts, predictors, strict=True)
              for model, member in zip(each.models, _members(predictor), strict=True)]  # fmt: skip
    shared = {split: found for split, found in facts[0].clips.items()
              if not any(difference(each.clips, {split: found}) for each in facts)}  # fmt: skip
    if left := sorted({split for each in facts for split in each.clips} - shared.keys() - {"train"}):
        log.warning("the runs do not have the same %s clips: the ensemble is not scored on them", " and ".join(left))
    whole = ModelFacts(
        name=name,
        method=ENSEMBLE,
        options={},
        features={name: width for each in facts for name, width in each.features.items()},
        lengths=_longest([model.lengths for model, _ in models]),
        typical=_longest([model.typical for model, _ in models]),
        labels=facts[0].labels,
        clips=shared,
        normalised=False,
        max_length=0,
        resample={},
        windows=1,
        extract=replace(extracts[0], features=specs) if extracts else None,
        members=[_facts(model, member.temperature) for model, member in models],
    )
    return Joined(whole, ensemble_of([member for _, member in models]).eval())


def _members(predictor: Predictor) -> list[Member]:
    """The models of a run, each with the temperature that calibrates it."""
    own, temperature = members_of(predictor.model), predictor.temperature
    for member in own:
        member.temperature *= temperature
    return own or [Member(predictor.model, predictor.fit, predictor.stats, temperature)]


def _facts(model: ModelFacts, temperature: float) -> MemberFacts:
    names = [one.name for one in fields(MemberFacts) if one.name != "temperature"]
    return MemberFacts(**{name: getattr(model, name) for name in names}, temperature=temperature)


def _check_alike(first: str, one: ModelFacts, second: str, other: ModelFacts) -> None:
    """Raises ValueError, naming what differs, unless both say the same classes of streams that are made alike."""
    for what, a, b in (("task", one.labels.task, other.labels.task), ("classes", one.labels, other.labels)):
        if a != b:
            said = [x if isinstance(x, str) else f"{len(x.classes)} classes" for x in (a, b)]
            raise ValueError(f"{first} and {second} differ in {what} ({said[0]} and {said[1]}); members must agree")
    for name in one.features.keys() & other.features.keys():
        if one.features[name] != other.features[name]:
            raise ValueError(
                f"{first} reads {name!r} with {one.features[name]} features, {second} with {other.features[name]}; "
                "members must read a modality alike"
            )
        made = [each.extractors.get(name, {}) for each in (one, other)]
        if made[0] != made[1] and all(made):
            raise ValueError(f"{first} and {second} extract {name!r} differently; members must read a modality alike")


def _longest(lengths: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: max(each.get(name, 0) for each in lengths) for name in {n for each in lengths for n in each}}


def _config(first: Config, joined: Joined) -> Config:
    """The first member's data, whole and with all modalities; the members' own settings are in model.json."""
    own = Data()
    data = replace(first.data, modalities=sorted(joined.facts.features), max_length=own.max_length,
                   windows=own.windows, resample=own.resample)  # fmt: skip
    return replace(first, data=data, method=ENSEMBLE, options={})


def _score(folder: RunFolder, config: Config, joined: Joined, *, measured: bool, trust_code: bool) -> None:
    """calibration.json, predictions.csv and result.json."""
    facts, found = joined.facts, dict[str, Predicted]()
    there = Path(config.data.manifest).is_file()
    if not there:
        log.warning("%s is not there: the ensemble is not scored", config.data.manifest)
    for split in ("valid", "test"):
        if there and split in facts.clips and facts.clips[split].count:
            opened = open_run(folder.path, split=split, trust_code=trust_code)
            found[split] = Predicted(*outputs(opened), [row.id for row in opened.data.rows])
    if "valid" in found and (calibration := calibrate(found["valid"].logits, found["valid"].labels, facts.labels)):
        folder.write(calibration)
    members = zip(members_of(joined.model), facts.models, strict=True)
    each = [count.count(member.model, dict(model.typical)) for member, model in members]
    counted = count.CountedCost(*map(sum, zip(*each, strict=True)))
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
        cost=cost_of(joined.model, facts.typical, counted, measured=measured),
        heads=facts.labels.heads or None,
    )
    write_result(folder, result, found.get("test"), facts.labels)
