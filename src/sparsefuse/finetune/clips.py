"""A user's clips: a manifest of features or media in; normalised samples, and the labels of the adapted model, out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from sparsefuse.data.contents import hash_of
from sparsefuse.data.fingerprint import Fingerprint, fingerprints
from sparsefuse.data.labels import Labels
from sparsefuse.data.manifest import Row, read_manifest
from sparsefuse.data.sample import Sample
from sparsefuse.errors import unknown
from sparsefuse.files.rows import numbered, read_table
from sparsefuse.files.skipped import Skip, Unusable
from sparsefuse.finetune.settings import NEW_CLASS_CLIPS
from sparsefuse.inference.predictor import Predictor


class UserClips(NamedTuple):
    """The clips that can be used, and their labels."""

    samples: list[Sample]
    rows: list[Row]
    """of the samples"""
    labels: Labels
    """those of the model, followed by new classes"""
    skips: list[Skip]

    def ids_among(self, others: "UserClips") -> list[str]:
        """The ids of clips of which a stream is in the others too, by its contents."""
        theirs = {hash for sample in others.samples for hash in _hashes(sample)}
        return [sample.id for sample in self.samples if theirs & _hashes(sample)]

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of these clips."""
        return fingerprints({"clips": self.rows})["clips"]


def read_clips(
    predictor: Predictor,
    manifest: Path,
    model_labels: Labels,
    *,
    label: str = "label",
    separator: str = "|",
    new_classes: bool = False,
) -> UserClips:
    """Reads and normalises every clip as in prediction; `label` and `separator` as in `read_manifest`.

    A clip that cannot be read is left out. Raises ValueError for a manifest without clips, columns or labels that can
    be used, and for a class that is not in `model_labels` unless `new_classes`; such a class needs two clips.
    """
    table = numbered(read_table(manifest))
    columns, cells = table.columns, {row["id"]: row for row in table.rows}
    used = [name for name in predictor.columns if name in columns]
    if not used:
        raise ValueError(
            f"{manifest}: no column is one of {', '.join(predictor.columns)}, which the model reads; columns: "
            f"{', '.join(columns)}; rename one"
        )
    listing = read_manifest(manifest, label=label, separator=separator, modalities=used)
    labels = _with_new(model_labels, listing.rows, manifest) if new_classes else model_labels
    _check_classes(labels, listing.rows, manifest)
    samples: list[Sample] = []
    rows: list[Row] = []
    skips: list[Skip] = []
    for row in listing.rows:
        try:
            features, missing = predictor.features(predictor.clip(cells[row.id], listing.root))
            skips += [Skip(row.id, name, why) for name, why in missing.items() if why != "not given"]
            if not features:
                raise Unusable("no usable modality")
            samples.append(Sample(features, labels.encode(row.label), row.id))
            rows.append(row)
        except Unusable as error:
            skips.append(Skip(row.id, "", str(error)))
    if not samples:
        raise ValueError(f"{manifest}: no clip can be used; the first is {skips[0].id}: {skips[0].reason}")
    counts = Counter(row.label for row in rows)
    for name in labels.classes[len(model_labels.classes) :]:
        if counts[name] < NEW_CLASS_CLIPS:
            raise ValueError(
                f"{manifest}: new class {name!r} has {counts[name]} usable clip{'s' * (counts[name] != 1)}; it needs "
                f"{NEW_CLASS_CLIPS}: one to train on, one to hold out"
            )
    return UserClips(samples, rows, labels, skips)


def _with_new(labels: Labels, rows: Sequence[Row], manifest: Path) -> Labels:
    """The labels followed by new classes, so that the indices of the others stay."""
    if labels.task != "class":
        raise ValueError(
            f"{manifest}: new classes need a model of one class per clip; this one's task is {labels.task}"
        )
    new = sorted({row.label for row in rows if row.label} - set(labels.classes) - set(labels.ids))
    return replace(labels, classes=(*labels.classes, *new), ids=(*labels.ids, *[""] * len(new)) if labels.ids else ())


def _check_classes(labels: Labels, rows: Sequence[Row], manifest: Path) -> None:
    """Raises ValueError for an unknown class: none of a user's few clips is skipped silently."""
    if labels.task != "class":
        return
    for row in rows:
        if row.label and row.label not in labels.classes and row.label not in labels.ids:
            raise ValueError(
                f"{manifest}: clip {row.id!r}: {unknown('class', row.label, labels.classes)}; for a new class, give "
                "--new-classes"
            )


def labels_of(samples: Sequence[Sample]) -> torch.Tensor:
    """The labels of all, as one tensor."""
    return torch.stack([sample.label for sample in samples])


def by_class(clips: UserClips) -> list[list[int]]:
    """The indices of the clips of each class; for other tasks than `class`, one group of all."""
    if clips.labels.task != "class":
        return [list(range(len(clips.samples)))]
    groups: dict[int, list[int]] = {}
    for i, sample in enumerate(clips.samples):
        groups.setdefault(int(sample.label), []).append(i)
    return list(groups.values())


def _hashes(sample: Sample) -> set[str]:
    return {hash_of(x.numpy()) for x in sample.features.values()} - {""}
