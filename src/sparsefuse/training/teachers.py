"""What finished runs teach: runs and training clips in; their calibrated logits, once per clip, out.

A teacher sees each clip as `predict` does, whole and as it is on disk, however the student's view of it is augmented.
Its answers are computed once and kept beside the first teacher, in `outputs/`, by the hash of all they follow from.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from sparsefuse.config import Config
from sparsefuse.cost.count import random_clips
from sparsefuse.data.batches import LengthBuckets
from sparsefuse.data.checked import Checked
from sparsefuse.data.clips import Clips
from sparsefuse.data.dataset import ClipDataset
from sparsefuse.data.labels import Labels
from sparsefuse.data.lengths import WHOLE, Lengths
from sparsefuse.data.manifest import Row, read_manifest
from sparsefuse.data.prepare import prepare
from sparsefuse.data.reading import Reading
from sparsefuse.files import checkpoint
from sparsefuse.files.rows import read_table
from sparsefuse.layers.streams import presence
from sparsefuse.model import FusionModel
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.joined import join
from sparsefuse.runs.members import members_of
from sparsefuse.runs.records import Calibration, ModelFacts, Result, Teacher
from sparsefuse.tokens import State
from sparsefuse.training import multiclip
from sparsefuse.training.loss import Taught

log = logging.getLogger(__name__)

UNLABELLED = "unlabelled:"
"""before the ids of clips without labels"""
BATCH = 24


class Lesson(NamedTuple):
    """The teachers' answers for the training clips."""

    clips: Clips
    """those of the run; its training split with the unlabelled ones"""
    places: Mapping[str, int]
    """id -> row of a clip that they can say something of"""
    logits: Tensor
    """(n, C), calibrated"""
    cls: Tensor | None
    """(n, D), of one teacher alone"""
    key: str
    """hash of the teachers, and of the clips"""

    def of(self, ids: Sequence[str]) -> Taught:
        """Of a batch, on the device of the answers."""
        device = self.logits.device
        rows = _there([self.places.get(id, -1) for id in ids], device)
        labelled = _there([not id.startswith(UNLABELLED) for id in ids], device)
        there, rows = rows >= 0, rows.clamp_min(0)
        return Taught(self.logits[rows], there, labelled, None if self.cls is None else self.cls[rows])


def _there(values: Sequence[int], device: torch.device) -> Tensor:
    """As a tensor on the device, without a wait for it."""
    x = torch.tensor(values)
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


class _Found(NamedTuple):
    """Clips that the teachers can say something of."""

    rows: list[Row]
    """their files absolute"""
    sizes: list[int]
    """tokens of each"""
    hashes: dict[str, str]
    """file -> hash of its contents"""
    tokens: dict[str, int]
    """file -> how many it has"""

    def plus(self, other: "_Found") -> "_Found":
        """Of both."""
        lists = self.rows + other.rows, self.sizes + other.sizes
        return _Found(*lists, self.hashes | other.hashes, self.tokens | other.tokens)


def lesson(config: Config, clips: Clips, student: FusionModel) -> Lesson:
    """What `config.distill.teachers` say of the training clips, and of those of `distill.unlabelled`.

    Raises the errors of `runs.joined.join`; ValueError for teachers of other classes, and, unless data.leaks is warn,
    for test clips that a teacher was trained on, or that are among the unlabelled ones.
    """
    spec, data, labels = config.distill, config.data, clips.labels
    joined = join(spec.teachers)
    if joined.facts.labels != labels:
        counts = [len(each.classes) for each in (joined.facts.labels, labels)]
        raise ValueError(
            f"the teacher {spec.teachers[0]} has other classes than the data ({counts[0]} and {counts[1]}); they must "
            "be the same"
        )
    features, path = joined.facts.features, Path(data.manifest)
    listing = read_manifest(
        path, label=data.label, separator=data.separator, modalities=list(features), group=data.group
    )
    ids = {split: {row.id for row in part.rows} for split, part in clips.splits.items()}
    by_split = {split: [row for row in listing.rows if row.id in ids[split]] for split in ids}
    own = {split: _found(rows, path, labels, features) for split, rows in by_split.items() if rows}
    held = {split: set(own[split].hashes.values()) - {""} for split in ("valid", "test") if split in own}
    for teacher in spec.teachers:
        _check_unseen(f"the teacher {teacher} has seen", _seen(Path(teacher)), held.get("test", set()), data.leaks)
    found = own["train"]
    if spec.unlabelled:
        more = _unlabelled(Path(spec.unlabelled), labels, features)
        _check_unseen(f"{spec.unlabelled} has", {*more.hashes.values()}, set().union(*held.values()), data.leaks)
        log.info("%d unlabelled clips beside %d training clips", len(more.rows), len(clips.splits["train"]))
        found = found.plus(more)
    lost = len(ids["train"] - {row.id for row in found.rows})
    if lost:
        log.warning("the teachers cannot read %d training clips, which are learned from their labels alone", lost)
    facts = [[row.id, sorted((name, found.hashes[ref]) for name, ref in row.files.items())] for row in found.rows]
    key = hashlib.sha256(json.dumps([[_print(Path(run)) for run in spec.teachers], facts]).encode()).hexdigest()
    device = next(student.parameters()).device
    path = Path(spec.teachers[0]) / "outputs" / f"{key}.safetensors"
    answers = _answers(path, joined.model.to(device), found, labels)
    cls = answers.get("cls") if spec.features else None
    if spec.features and (cls is None or cls.shape[1] != _width(student)):
        wide = "no teacher has a CLS of its own" if cls is None else f"the teacher's CLS is {cls.shape[1]} wide"
        log.warning("distill.features matches nothing: %s, the model's %d", wide, _width(student))
        cls = None
    places = {row.id: i for i, row in enumerate(found.rows)}
    whole = _with_unlabelled(config, clips, found, answers["logits"]) if spec.unlabelled else clips
    return Lesson(whole, places, answers["logits"].to(device), None if cls is None else cls.to(device), key)


def _found(
    rows: Sequence[Row], path: Path, labels: Labels, features: Mapping[str, int], fit: Lengths = WHOLE
) -> _Found:
    """Those of the rows of a manifest that have one of the features."""
    names = [name for name in features if any(name in row.files for row in rows)]
    known, reading = Checked(path), Reading(fit, measured=False)
    prepared = prepare({"all": rows}, path.parent, modalities=names, labels=labels, features=features, fit=fit,
                       read=partial(reading.shapes, known))  # fmt: skip
    known.save()
    root = os.path.abspath(path.parent)
    usable = [row._replace(files={name: os.path.join(root, ref) for name, ref in row.files.items()})
              for row in prepared.rows["all"]]  # fmt: skip
    hashes = {os.path.join(root, ref): hash for ref, hash in prepared.hashes.items()}
    tokens = {os.path.join(root, ref): length for ref, length in reading.lengths.items()}
    return _Found(usable, prepared.lengths["all"], hashes, tokens)


def _unlabelled(path: Path, labels: Labels, features: Mapping[str, int], fit: Lengths = WHOLE) -> _Found:
    """The clips of a manifest without labels, of which one is made up: it does not count."""
    columns = read_table(path).columns
    listing = read_manifest(path, label=None, modalities=[name for name in features if name in columns])
    shape = {"heads": (len(labels.heads),), "multilabel": (len(labels.classes),)}.get(labels.task, ())
    rows = [row._replace(id=UNLABELLED + row.id, label=labels.text(torch.zeros(shape))) for row in listing.rows]
    return _found(rows, path, labels, features, fit)


def _with_unlabelled(config: Config, clips: Clips, found: _Found, logits: Tensor) -> Clips:
    """The clips of the run, with the unlabelled ones that the student can read, too, in the training split."""
    taught = {row.id: labels_of(clips.labels, logits[i]) for i, row in enumerate(found.rows)}
    more = _unlabelled(Path(config.distill.unlabelled), clips.labels, clips.features, clips.splits["train"].fit)
    kept = [i for i, row in enumerate(more.rows) if row.id in taught]
    train = clips.splits["train"]
    old = [row._replace(files={name: os.path.join(os.path.abspath(train.root), ref) for name, ref in row.files.items()})
           for row in train.rows]  # fmt: skip
    new = [more.rows[i]._replace(label=taught[more.rows[i].id]) for i in kept]
    whole = ClipDataset([*old, *new], train.labels, Path(), modalities=train.modalities, stats=train.stats,
                        fit=train.fit, cache_mb=train.cache_mb)  # fmt: skip
    seen = sorted({*clips.seen, *more.hashes.values()} - {""})
    sizes = {**clips.sizes, "train": [*clips.sizes["train"], *(more.sizes[i] for i in kept)]}
    tokens = dict(clips.tokens)
    for row in new:
        for name, file in row.files.items():
            tokens[name] += train.fit.after(name, more.tokens[file])
    return clips._replace(splits={**clips.splits, "train": whole}, sizes=sizes, tokens=tokens, seen=seen)


def _seen(run: Path) -> set[str]:
    """Hashes of what a teacher was trained or validated on."""
    seen = RunFolder(run).seen()
    if seen is None:
        log.warning("%s does not say which clips it was trained on; they may be among the test clips", run)
    return seen or set()


def _check_unseen(who: str, seen: set[str], held: set[str], leaks: Literal["stop", "warn"]) -> None:
    """Raises ValueError, or warns, if something of held-out clips was seen."""
    count = len(seen & held)
    if count:
        text = f"{who} {count} files of clips that are held out here"
        if leaks == "stop":
            raise ValueError(f"{text}: scores would be too high; divide the clips alike, or set data.leaks=warn")
        log.warning("%s", text)


def _print(run: Path) -> list[str]:
    """A hash of each file that a teacher's answers follow from."""
    folder = RunFolder(run)
    files = (folder.file(ModelFacts), folder.weights, folder.file(Calibration))
    return [hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "" for file in files]


def _answers(path: Path, model: FusionModel, found: _Found, labels: Labels) -> dict[str, Tensor]:
    """The logits, and of one teacher the CLS, of clips: from the file if there is one, else computed and kept."""
    if path.is_file():
        return checkpoint.load(path).tensors
    names = {name for row in found.rows for name in row.files}
    dataset = ClipDataset(found.rows, labels, Path(), modalities=sorted(names), cache_mb=0)
    batches = LengthBuckets(found.sizes, BATCH, seed=0, shuffle=False).epoch(0)
    log.info("computing the teachers' answers for %d clips ...", len(dataset))
    with _heard(model) as cls:
        logits = multiclip.predict(model, dataset, WHOLE, labels.num_outputs, batches=batches)
    order = torch.tensor([place for batch in batches for place in batch]).argsort()
    tensors = {"logits": logits.cpu()} | ({"cls": torch.cat(cls)[order].cpu()} if cls else {})
    path.parent.mkdir(exist_ok=True)
    checkpoint.save(path, tensors, {})
    return tensors


@contextmanager
def _heard(model: FusionModel) -> Iterator[list[Tensor]]:
    """The CLS that the head of a single teacher reads, batch by batch; none of several, which share no space."""
    cls: list[Tensor] = []
    members = members_of(model)
    if len(members) > 1 or not reads_cls(members[0].model):
        yield cls
        return

    def note(_: nn.Module, args: tuple[State]) -> None:
        read = read_cls(members[0].model, args[0])
        cls.append(read.unflatten(0, (-1, members[0].windows)).mean(1))

    hook = members[0].model.head.register_forward_pre_hook(note)
    try:
        yield cls
    finally:
        hook.remove()


def labels_of(labels: Labels, logits: Tensor) -> str:
    """What logits (C,) say, as a manifest has it."""
    return labels.text(labels.likeliest(logits))


def teachers_of(config: Config, clips: Clips) -> list[Teacher] | None:
    """What result.json says of the teachers; scores of the same clips alone."""
    found = []
    for run in config.distill.teachers:
        folder = RunFolder(Path(run))
        facts, result = folder.read(ModelFacts), folder.get(Result)
        same = {split for split, print in clips.fingerprints.items() if facts.clips.get(split) == print}
        scores = {split: result.scores(split) if result and split in same else {} for split in ("valid", "test")}
        found.append(Teacher(facts.name, result.cost.gmacs if result else None, scores["valid"], scores["test"]))
    return found or None


def reads_cls(model: FusionModel) -> bool:
    """Whether the model's head says which streams' CLS it reads."""
    return hasattr(model.head, "streams") or hasattr(model.head, "modalities")


def _width(model: FusionModel) -> int:
    """Of the CLS that the head reads; 0 if that is not known."""
    if not reads_cls(model):
        return 0
    device, training = next(model.parameters()).device, model.training
    with torch.no_grad():
        state = model.eval().encode(random_clips(model, dict.fromkeys(model.modalities, 2), 1, device))
    model.train(training)
    return read_cls(model, state).shape[1]


def read_cls(model: FusionModel, state: State) -> Tensor:
    """(B, D) the mean of the CLS that the head reads, of the streams that a sample has."""
    names = getattr(model.head, "streams", None) or model.head.modalities
    streams = [state.streams[name] for name in cast(Sequence[str], names)]
    there = torch.cat([presence(stream) for stream in streams], 1)  # (B, M, 1)
    cls = torch.stack([stream.x[:, 0] for stream in streams], 1)
    return (cls * there).sum(1) / there.sum(1).clamp_min(1e-6)
