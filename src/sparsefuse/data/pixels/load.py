"""The data of a run on pixels: a configuration in; three splits of scenes, and what was measured on them, out."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.config import Config
from sparsefuse.config.pixels import CHANNELS, PictureStream, Pixels
from sparsefuse.data.check.balance import odd_names
from sparsefuse.data.clips import leaks_in, lost_before, tell_problems
from sparsefuse.data.fingerprint import Fingerprint
from sparsefuse.data.kept import Kept
from sparsefuse.data.manifest import Manifest, Row
from sparsefuse.data.pixels.dataset import SceneFiles
from sparsefuse.data.pixels.leaks import same_pictures
from sparsefuse.data.pixels.read import channels_of, common, read_raw
from sparsefuse.data.pixels.sample import Reader
from sparsefuse.data.pixels.scenes import Scenes
from sparsefuse.data.pixels.survey import Facts, Found, survey, usable
from sparsefuse.data.pixels.table import read_rows, split_pictures
from sparsefuse.data.prepare import Losses
from sparsefuse.data.stats import Measuring
from sparsefuse.errors import unknown
from sparsefuse.files.skipped import Skip, Unusable
from sparsefuse.media.still import Still

log = logging.getLogger(__name__)

LOOKED = 16
"""pictures of a stream that say what it shows, where the configuration does not"""


def load_scenes(config: Config, root: Path = Path()) -> Scenes:
    """Reads the manifest, splits it, and reads every picture once; the configuration's paths are relative to `root`.

    A sample loses a stream whose picture cannot be used; without any, or a usable target, it is dropped: all are in
    `skips`. Raises ValueError if no training sample is usable, a stream is so in none, or pictures of two splits are
    the same (data.leaks).
    """
    opened = open_scenes(config, root)
    for text in coarse(config.pixels, opened.reader.streams):
        log.warning("%s", text)
    kept = Kept(config.data.cache_mb)
    losses = Losses(config.data.strict)
    found, classes = usable(
        survey(opened.rows, opened.reader, kept), config.pixels, losses, labels=opened.reader.target is None
    )
    if not found["train"]:
        raise ValueError(f"no usable training sample; {losses.first()}")
    problems = [*same_pictures(found), *odd_names("classes", classes)]
    tell_problems(problems, config.data.leaks)
    reader, train = opened.reader, found["train"]
    for name in reader.streams:
        check_present(name, train, losses.skips)
    stats = _stats(reader.streams, train, normalise=config.data.normalise)
    target_stats = _target_stats(reader.target, train)
    rows = {split: [one.row for one in part] for split, part in found.items()}
    return Scenes(
        splits={split: SceneFiles(part, reader, stats, target_stats, kept) for split, part in rows.items()},
        streams=dict(reader.streams),
        channels=channels_of(reader.streams),
        classes=classes,
        outputs=len(classes) if reader.target is None else len(target_stats[0]),
        target=reader.target or config.pixels.target,
        stats=stats,
        size=reader.size or _typical(train),
        fingerprints={split: Fingerprint(len(part), _hash(part)) for split, part in found.items()},
        skips=[*lost_before(opened.manifest, reader.streams), *losses.skips],
        leaks=leaks_in(problems),
        target_stats=target_stats,
    )


AUTO = PictureStream()


class Opened(NamedTuple):
    """A manifest whose streams are known."""

    manifest: Manifest
    rows: dict[str, list[Row]]
    """by split"""
    reader: Reader


def open_scenes(config: Config, root: Path, *, divided: bool = True) -> Opened:
    """Reads the manifest, and a few training pictures of every stream whose kind or unit nobody stated.

    Not `divided`, all rows are in `train`, whatever split they name. Raises FileNotFoundError or ValueError.
    """
    pixels = config.pixels
    if bool(pixels.height) != bool(pixels.width):
        raise ValueError(
            f"pixels.height is {pixels.height} and pixels.width {pixels.width}; set both, or neither (0 = as they are)"
        )
    manifest = read_rows(config.data, root)
    for name in pixels.streams:
        if name not in manifest.modalities:
            raise ValueError(f"pixels.streams: {unknown('stream', name, manifest.modalities)}")
    rows = split_pictures(manifest, config.data.split) if divided else {"train": list(manifest.rows)}
    streams = {}
    for name in manifest.modalities:
        refs = [row.files[name] for row in rows["train"] if name in row.files]
        streams[name] = _resolved(pixels.streams.get(name, AUTO), refs, manifest.root)
    target = None
    if config.data.task == "translate":
        target = _resolved(pixels.target, [row.label for row in rows["train"] if row.label], manifest.root)
    guessed = {name for name in streams if not pixels.streams.get(name, AUTO).unit}
    size = (pixels.height, pixels.width) if pixels.height else None
    reader = Reader(manifest.root, streams, target, size, frozenset(guessed))
    return Opened(manifest, rows, reader)


def coarse(pixels: Pixels, streams: Mapping[str, PictureStream]) -> list[str]:
    """A text for each stream that is called depth, but holds gray pictures of 8 bits, and nobody said that it does."""
    return [
        f"{name}: its pictures have 8 bits, so they are read as gray, not as depth; were they 16-bit once? If not, "
        f"say what they are: pixels.streams, {{{name}: {{kind: gray}}}}, or kind: depth with its unit"
        for name, stream in streams.items()
        if stream.kind == "gray" and "depth" in name.lower() and pixels.streams.get(name, AUTO).kind == "auto"
    ]


def _resolved(stream: PictureStream, refs: Sequence[str], root: Path) -> PictureStream:
    """As most of the first readable pictures say. Of none, gray: why they cannot be read is said later."""
    if stream.kind not in ("auto", "depth") or (stream.kind == "depth" and stream.unit):
        return stream
    found = common(islice(_readable(refs, root), LOOKED), stream)
    return replace(found, kind="gray") if found.kind == "auto" else found


def _readable(refs: Iterable[str], root: Path) -> Iterable[Still]:
    for ref in refs:
        try:
            yield read_raw(ref, root)
        except Unusable:
            continue


def check_present(name: str, train: Sequence[Found], skips: Sequence[Skip]) -> None:
    """Raises ValueError for a stream that no training sample has, or in whose depth nothing was ever measured."""
    facts = [found for one in train if isinstance(found := one.streams.get(name), Facts)]
    if not facts:
        reason = next((skip.reason for skip in skips if skip.modality == name), "its column is empty")
        raise ValueError(
            f"no training sample has a usable {name!r}: {reason}. Correct the files, or name the other streams in "
            "data.modalities"
        )
    if all(one.moments is None for one in facts):
        raise ValueError(
            f"{name}: nothing was measured in any training picture: all depths are 0, NaN or "
            f"pixels.streams.{name}.invalid"
        )


def _stats(
    streams: Mapping[str, PictureStream], train: Sequence[Found], *, normalise: bool
) -> dict[str, tuple[Tensor, Tensor]]:
    """Stream -> mean and deviation of each channel over the training pixels.

    Normals keep their length, and depth its channel of validity: these have mean 0 and deviation 1.
    """
    measuring, widths = Measuring(), {}
    for name, stream in streams.items():
        for one in train:
            facts = one.streams.get(name)
            if isinstance(facts, Facts) and facts.moments is not None and stream.kind != "normal" and normalise:
                measuring.add(name, facts.moments)
                widths[name] = len(facts.moments.mean)
    means, stds = measuring.stats(widths)
    stats = {}
    for name, width in channels_of(streams).items():
        mean, std = torch.zeros(width), torch.ones(width)
        if name in widths:
            mean[: widths[name]], std[: widths[name]] = means[name], stds[name]
        stats[name] = mean, std
    return stats


def _target_stats(target: PictureStream | None, train: Sequence[Found]) -> tuple[Tensor, Tensor]:
    """(C,) what is taken off a target picture and divides it then, so that it is from -1 to 1; of depth over the range
    of the training pictures."""
    if target is None or target.kind == "normal":
        width = 0 if target is None else CHANNELS["normal"]
        return torch.zeros(width), torch.ones(width)
    if target.kind == "depth":
        facts = [one.target for one in train if isinstance(one.target, Facts) and one.target.moments is not None]
        if not facts:
            raise ValueError(
                "nothing was measured in any target picture: all depths are 0, NaN or pixels.target.invalid"
            )
        low, high = min(one.low for one in facts), max(one.high for one in facts)
        return torch.tensor([(low + high) / 2]), torch.tensor([max((high - low) / 2, 1e-6)])
    assert target.kind != "auto", target
    return torch.full((CHANNELS[target.kind],), 0.5), torch.full((CHANNELS[target.kind],), 0.5)


def _typical(train: Sequence[Found]) -> tuple[int, int]:
    sizes = [one.target.size for one in train if isinstance(one.target, Facts)]
    return round(median(size[0] for size in sizes)), round(median(size[1] for size in sizes))


def _hash(found: Sequence[Found]) -> str:
    """Of ids and of the contents of all pictures, in any order of the rows."""

    def contents(one: Found) -> list[str]:
        named = sorted({**one.streams, "": one.target}.items())
        return [one.row.id, *(f"{name}={facts.hash}" for name, facts in named if isinstance(facts, Facts))]

    return hashlib.sha256(json.dumps(sorted(map(contents, found))).encode()).hexdigest()[:16]
