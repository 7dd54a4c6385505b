"""What MulT's and MMSA's pickles share: a dictionary of splits, each a dictionary of arrays with a row per clip."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.data.formats import demand_one
from sparsefuse.data.formats._finish import finish
from sparsefuse.data.pickles import read_pickle
from sparsefuse.data.shards import Shards
from sparsefuse.errors import unknown
from sparsefuse.files.skipped import Skip, Unusable
from sparsefuse.shown import counted

log = logging.getLogger(__name__)

MODALITIES = ("audio", "text", "vision")
SPLITS = ("train", "valid", "test")
FILES = ("*.pkl", "*.pickle")


class Part(NamedTuple):
    """One split."""

    name: str
    where: str
    """file and split, for messages"""
    streams: dict[str, np.ndarray]
    """modality -> (clips, tokens, features)"""
    rest: dict[str, Any]
    """all values of the split, by their keys"""
    clips: int
    """how many"""

    @property
    def aligned(self) -> bool:
        """Whether a token means the same moment in all modalities: they are equally long then."""
        return len(self.streams) > 1 and len({values.shape[1] for values in self.streams.values()}) == 1

    def column(self, key: str, axes: tuple[int, ...] = ()) -> np.ndarray:
        """The numbers of `key`, a row per clip, without axes of size 1. Raises ValueError for another shape than
        (clips, *axes)."""
        if key not in self.rest:
            raise ValueError(f"{self.where}: {unknown('key', key, self.rest)}")
        values = np.asarray(self.rest[key])
        if values.dtype.kind not in "fiub" or not values.size:
            raise ValueError(f"{self.where}: {key} holds {values.dtype} values, expected numbers")
        squeezed = values.reshape(len(values), *(size for size in values.shape[1:] if size > 1))
        if squeezed.shape != (self.clips, *axes):
            raise ValueError(f"{self.where}: {key} has shape {values.shape}, expected {(self.clips, *axes)}")
        return squeezed


def read_parts(name: str, source: Path, *, of_other: dict[str, str]) -> list[Part]:
    """The splits of the pickle in `source`. A key in `of_other` shows the layout of another recipe, its value.

    Raises ValueError for another layout, naming what is there.
    """
    path = demand_one(name, source, *FILES)
    pack = read_pickle(path)
    if not isinstance(pack, dict):
        raise ValueError(f"{path}: holds a {type(pack).__name__}, expected a dictionary of {', '.join(SPLITS)}")
    splits = [split for split in SPLITS if split in pack]
    if "train" not in splits:
        raise ValueError(f"{path}: {unknown('split', 'train', map(str, pack))}; expected {', '.join(SPLITS)}")
    parts = []
    for split in splits:
        where = f"{path}, {split}"
        content = pack[split]
        if not isinstance(content, dict):
            raise ValueError(f"{where}: holds a {type(content).__name__}, expected a dictionary of arrays")
        for key, recipe in of_other.items():
            if key in content:
                raise ValueError(f"{where}: has {key!r}, which is the layout of `sparsefuse prepare {recipe}`")
        parts.append(_part(split, where, content))
    if len({tuple((key, values.shape[2]) for key, values in part.streams.items()) for part in parts}) > 1:
        shapes = "; ".join(f"{p.name}: {', '.join(f'{k} {v.shape}' for k, v in p.streams.items())}" for p in parts)
        raise ValueError(f"{path}: the splits have other modalities or features: {shapes}")
    return parts


def _part(split: str, where: str, content: dict[str, Any]) -> Part:
    streams = {key: content[key] for key in MODALITIES if key in content}
    if not streams:
        raise ValueError(
            f"{where}: {unknown('key', MODALITIES[0], map(str, content))}; expected {', '.join(MODALITIES)}"
        )
    for key, values in streams.items():
        if not isinstance(values, np.ndarray) or values.ndim != 3 or values.dtype.kind not in "fiu":
            got = f"{values.shape} {values.dtype}" if isinstance(values, np.ndarray) else type(values).__name__
            raise ValueError(f"{where}: {key} is {got}, expected numbers of shape (clips, tokens, features)")
    counts = {key: len(values) for key, values in streams.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"{where}: modalities have other numbers of clips: {counts}")
    return Part(split, where, streams, content, next(iter(counts.values())))


def ids(part: Part) -> tuple[list[str], list[str]]:
    """The id of every clip, and its group, the video it was cut from (empty if the id does not say)."""
    names = part.rest.get("id")
    if names is None or len(names) != part.clips:
        if names is not None:
            log.warning("%s: %d ids for %d clips; they are numbered instead", part.where, len(names), part.clips)
        return [f"{part.name}-{i:05d}" for i in range(part.clips)], [""] * part.clips
    named, groups = [], []
    for entry in names:
        words = [_word(word) for word in np.asarray(entry).reshape(-1).tolist()]
        one = words[0] if len(words) == 1 else "_".join(words)
        named.append(one)
        groups.append(one.split("$_$")[0] if "$_$" in one else words[0] if len(words) == 3 else "")
    return named, groups


def _word(value: Any) -> str:
    return value.decode("latin-1").strip() if isinstance(value, bytes) else str(value).strip()


def write(
    parts: list[Part],
    out: Path,
    streams: Callable[[Part, int], Iterator[tuple[str, np.ndarray | Unusable]]],
    cells: Callable[[Part], list[dict[str, str]]],
) -> Path:
    """Converts every clip once into features/*.safetensors, float32; writes skipped.jsonl and the manifest.

    `streams` gives a clip's modalities, (N, F) each, or why one cannot be used; `cells` the labels of a split's clips.
    A modality that cannot be used is an empty cell; a clip with none is left out. A rerun starts over.
    """
    modalities = list(parts[0].streams)
    shards = {modality: Shards(out, modality) for modality in modalities}
    rows, skips = [], []
    used: set[str] = set()
    for part in parts:
        labels = cells(part)
        for i, (id, group) in enumerate(zip(*ids(part), strict=True)):
            id = f"{part.name}-{i:05d}-{id}" if id in used or not id else id
            used.add(id)
            refs = dict.fromkeys(modalities, "")
            lost = []
            for modality, values in streams(part, i):
                if isinstance(values, Unusable):
                    lost.append(Skip(id, modality, f"{part.where}, clip {i}: {modality} {values}"))
                else:
                    refs[modality] = shards[modality].add(id, values)
            if any(refs.values()):
                rows.append({"id": id, **refs, **labels[i], "split": part.name, "group": group})
                skips += lost
            else:
                skips.append(Skip(id, "", "; ".join(skip.reason for skip in lost)))
    return finish(out, shards.values(), rows, skips, counted(len(used), "clip"))


def usable(modality: str, values: np.ndarray) -> np.ndarray | Unusable:
    """A clip's stream without padding, or why it cannot be used; -inf in audio, where COVAREP took a logarithm of 0,
    becomes 0."""
    if not len(values) or not values.any():
        return Unusable("holds nothing but zeros")
    with np.errstate(over="ignore"):  # what does not fit becomes inf, and is named
        values = values.astype(np.float32)
    if modality == "audio":
        values[np.isneginf(values)] = 0
    bad = int((~np.isfinite(values)).sum())
    return Unusable(f"holds {bad} values that are NaN or infinite") if bad else values
