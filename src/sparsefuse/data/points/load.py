"""The data of a run on clouds: a configuration in; three splits of scenes, and what was measured on them, out."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.config import Config
from sparsefuse.config.points import Points
from sparsefuse.data.check.balance import odd_names
from sparsefuse.data.check.ids import some
from sparsefuse.data.check.leaks import same_features
from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.data.clips import leaks_in, lost_before, tell_problems
from sparsefuse.data.contents import hash_of
from sparsefuse.data.fingerprint import Fingerprint
from sparsefuse.data.kept import Kept
from sparsefuse.data.manifest import Manifest, Row
from sparsefuse.data.points.dataset import CloudFiles
from sparsefuse.data.points.sample import Loaded, Reader, num_channels
from sparsefuse.data.points.scenes import PICTURES, CloudScenes
from sparsefuse.data.points.table import read_rows, split_scenes
from sparsefuse.data.prepare import Losses, watched
from sparsefuse.data.reading import THREADS
from sparsefuse.data.stats import Measuring, Moments
from sparsefuse.errors import unknown
from sparsefuse.files.skipped import Unusable
from sparsefuse.parallel.ahead import ahead
from sparsefuse.shown import counted

log = logging.getLogger(__name__)


class Facts(NamedTuple):
    """Of one scene that can be read."""

    points: int
    boxes: Counter[str]
    """class -> boxes"""
    sizes: list[tuple[int, int]]
    """rows and columns of its pictures, as they are read"""
    moments: list[Moments]
    """of their shares of red, green and blue"""
    hash: str
    """of its cloud"""
    truth: str
    """hash of its boxes"""
    shown: str
    """hash of its pictures, as they are read, and of their cameras"""
    lost: list[Unusable]
    """pictures that cannot be used"""
    nowhere: int
    """points left out, see `read.Points`"""


class Found(NamedTuple):
    """Of one row."""

    row: Row
    facts: Facts | Unusable


class Opened(NamedTuple):
    """A manifest whose columns are known."""

    manifest: Manifest
    rows: Mapping[str, list[Row]]
    """by split"""
    reader: Reader


def load_clouds(config: Config, root: Path = Path()) -> CloudScenes:
    """Reads the manifest, splits it, and reads every scene once; the configuration's paths are relative to `root`.

    A scene loses pictures that cannot be used; without a usable cloud or usable boxes it is dropped: all are in
    `skips`. Raises ValueError if no training scene is usable, or clouds of two splits are the same (data.leaks).
    """
    opened, points = open_clouds(config, root), config.points
    kept, losses = Kept[Loaded](config.data.cache_mb), Losses(config.data.strict)
    found, classes = usable(survey(opened.rows, opened.reader, kept), points, losses)
    if not found["train"]:
        raise ValueError(f"no usable training scene; {losses.first()}")
    problems = [*same_clouds(found, points.cloud), *odd_names("classes", classes)]
    for problem in nowhere(found, points.cloud):
        log.info("%s", problem.message)
    tell_problems(problems, config.data.leaks)
    train = [one.facts for one in found["train"] if isinstance(one.facts, Facts)]
    boxes = sum((facts.boxes for facts in train), Counter[str]())
    if not boxes:
        raise ValueError("no training scene has a box; there is nothing to learn")
    stats = _stats(train, normalise=config.data.normalise)
    sizes = [size for facts in train for size in facts.sizes]
    rows = {split: [one.row for one in part] for split, part in found.items()}
    return CloudScenes(
        splits={split: CloudFiles(part, opened.reader, classes, stats, kept) for split, part in rows.items()},
        channels=list(points.channels),
        num_channels=num_channels(points.channels),
        classes=classes,
        stats=stats,
        points=min(round(median(facts.points for facts in train)), points.num_points),
        frames=round(median(len(facts.sizes) for facts in train)),
        size=(round(median(h for h, _ in sizes)), round(median(w for _, w in sizes))) if sizes else (0, 0),
        boxes={name: boxes[name] for name in classes},
        crowds={one.row.id: facts.boxes.total() for one, facts in facts_of({"train": found["train"]})},
        fingerprints={split: Fingerprint(len(part), _hash(part)) for split, part in found.items()},
        shown={
            split: _digest(sorted([one.row.id, facts.shown] for one, facts in facts_of({"": part})))
            for split, part in found.items()
        },
        skips=[*lost_before(opened.manifest, opened.manifest.modalities), *losses.skips],
        leaks=leaks_in(problems),
    )


def open_clouds(config: Config, root: Path, *, divided: bool = True) -> Opened:
    """Reads the manifest and divides its rows; not `divided`, all are in `train`.

    Raises FileNotFoundError or ValueError.
    """
    manifest = read_rows(config.data, config.points, root)
    rows = split_scenes(manifest, config.data.split) if divided else {"train": list(manifest.rows)}
    return Opened(manifest, rows, Reader(manifest.root, config.points))


def survey(splits: Mapping[str, Sequence[Row]], reader: Reader, kept: Kept[Loaded]) -> dict[str, list[Found]]:
    """Reads every row, those of training first, and keeps what there is room for."""
    found: dict[str, list[Found]] = {split: [] for split in splits}
    tasks = [(split, row) for split, rows in splits.items() for row in rows]
    threads = min(torch.get_num_threads(), THREADS)
    results = ahead(lambda task: (task[0], _look(task[1], reader, kept)), tasks, threads)
    for split, one in watched(results, "reading scenes", len(tasks)):
        found[split].append(one)
    return found


def _look(row: Row, reader: Reader, kept: Kept[Loaded]) -> Found:
    loaded = reader.read(row)
    if isinstance(loaded, Unusable):
        return Found(row, loaded)
    kept.add(row.id, loaded, loaded.nbytes)
    moments = [Moments.of(picture.flatten(0, 1).numpy() / 255) for picture in loaded.pictures]
    sizes = [(picture.shape[0], picture.shape[1]) for picture in loaded.pictures]
    boxes = Counter(box.label for box in loaded.boxes)
    truth = _digest(loaded.boxes)
    shown = _digest([[hash_of(picture.numpy()), *(part.tolist() for part in camera)]
                     for picture, camera in zip(loaded.pictures, loaded.cameras, strict=True)])  # fmt: skip
    return Found(row, Facts(len(loaded.xyz), boxes, sizes, moments, loaded.hash, truth, shown, loaded.lost,
                            loaded.nowhere))  # fmt: skip


def usable(
    found: Mapping[str, Sequence[Found]], points: Points, losses: Losses
) -> tuple[dict[str, list[Found]], list[str]]:
    """Split -> scenes that can be used, and the classes. What cannot goes to `losses`."""
    kept = {split: [one for one in part if _is_read(one, points, losses)] for split, part in found.items()}
    classes = points.classes or sorted(
        {name for _, facts in facts_of({"train": kept["train"]}) for name in facts.boxes}
    )
    return {split: [one for one in part if _is_known(one, classes, losses)] for split, part in kept.items()}, classes


def _is_read(one: Found, points: Points, losses: Losses) -> bool:
    if isinstance(one.facts, Unusable):
        losses.add(one.row, "", str(one.facts), one.facts.trace)
        return False
    for lost in one.facts.lost:
        losses.add(one.row, points.cameras, str(lost), lost.trace)
    return True


def _is_known(one: Found, classes: Sequence[str], losses: Losses) -> bool:
    assert isinstance(one.facts, Facts), one
    for name in one.facts.boxes:
        if name not in classes:
            losses.add(one.row, "", f"{one.row.label}: {unknown('class of a box', name, classes)}; list all in "
                       "points.classes")  # fmt: skip
            return False
    return True


def facts_of(found: Mapping[str, Sequence[Found]]) -> Iterator[tuple[Found, Facts]]:
    """The scenes that can be read, of all splits."""
    for part in found.values():
        for one in part:
            if isinstance(one.facts, Facts):
                yield one, one.facts


def same_clouds(found: Mapping[str, Sequence[Found]], cloud: str) -> list[Problem]:
    """Clouds that are in two splits, or twice in one."""
    rows = {split: [one.row._replace(label="") for one in part] for split, part in found.items()}
    hashes = {one.row.files[cloud]: facts.hash for one, facts in facts_of(found)}
    return same_features(rows, [cloud], hashes)


def nowhere(found: Mapping[str, Sequence[Found]], cloud: str) -> list[Problem]:
    """Points that were left out of clouds."""
    scenes = [(one.row.id, facts) for one, facts in facts_of(found) if facts.nowhere]
    if not scenes:
        return []
    ids, lost = [name for name, _ in scenes], sum(facts.nowhere for _, facts in scenes)
    held = lost + sum(facts.points for _, facts in scenes)
    what = f"{lost:,} of {held:,} points of {counted(len(ids), 'scene')} are NaN or infinite, and left out"
    return [broken("nowhere", f"{cloud}: {what} ({some(ids)})", *ids)]


def _stats(train: Sequence[Facts], *, normalise: bool) -> dict[str, tuple[Tensor, Tensor]]:
    """Of all pixels of the training pictures; 0 and 1 where there is none."""
    measuring, moments = Measuring(), [one for facts in train for one in facts.moments]
    if not moments or not normalise:
        return {PICTURES: (torch.zeros(3), torch.ones(3))}
    for one in moments:
        measuring.add(PICTURES, one)
    stats = measuring.stats({PICTURES: 3})
    return {PICTURES: (stats.mean[PICTURES], stats.std[PICTURES])}


def _hash(found: Sequence[Found]) -> str:
    """Of ids, clouds and boxes, in any order of the rows; not of pictures, for runs with fewer are compared."""
    return _digest(sorted([one.row.id, facts.hash, facts.truth] for one, facts in facts_of({"": found})))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
