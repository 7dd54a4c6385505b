"""Finished runs in, one model of raw features, with the facts of an ensemble, out."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

from sparsefuse.data.fingerprint import difference
from sparsefuse.model import FusionModel
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.members import Member, ensemble_of, members_of
from sparsefuse.runs.records import ENSEMBLE, Calibration, MemberFacts, ModelFacts
from sparsefuse.runs.weights import check_trusted, fit_of, load_model

log = logging.getLogger(__name__)


class Joined(NamedTuple):
    """What several runs are as one."""

    facts: ModelFacts
    model: FusionModel


def join(runs: Sequence[str | Path], *, name: str = ENSEMBLE, trust_code: bool = False) -> Joined:
    """Finished runs as one model of raw features. Raises the errors of `load`, ValueError for different classes, or a
    modality that they do not read alike."""
    facts = [RunFolder(Path(run)).read(ModelFacts) for run in runs]
    members = [_members(RunFolder(Path(run)), each, trust_code) for run, each in zip(runs, facts, strict=True)]
    for run, each in zip(runs, facts, strict=True):
        _check_alike(str(runs[0]), facts[0], str(run), each)
    specs = {name: spec for each in facts for name, spec in each.extractors.items()}
    extracts = [each.extract for each in facts if each.extract]
    models = [pair for each, own in zip(facts, members, strict=True) for pair in zip(each.models, own, strict=True)]
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


def _members(run: RunFolder, facts: ModelFacts, trust_code: bool) -> list[Member]:
    """The models of a run, each with the temperature that calibrates it."""
    check_trusted(run, facts, trust_code=trust_code)
    _, model, stats = load_model(run, facts)
    calibration = run.get(Calibration)
    temperature = calibration.temperature if calibration else 1.0
    own = members_of(model)
    for member in own:
        member.temperature *= temperature
    return own or [Member(model, fit_of(facts), stats, temperature)]


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
