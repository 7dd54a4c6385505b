"""The one reading of all pictures before training: what was found in each, and which samples can be used."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from sparsefuse.config.pixels import PictureStream, Pixels
from sparsefuse.data.kept import Kept
from sparsefuse.data.manifest import Row
from sparsefuse.data.pixels.sample import Loaded, Loads, Reader, measured
from sparsefuse.data.prepare import Losses, watched
from sparsefuse.data.reading import THREADS
from sparsefuse.data.stats import Moments
from sparsefuse.files.skipped import Unusable
from sparsefuse.parallel.ahead import ahead
from sparsefuse.shown import counted

MOST_CLASSES = 1024
"""of label pictures, unless pixels.classes names them: larger numbers are rather instances than classes"""


class Facts(NamedTuple):
    """Of one picture."""

    size: tuple[int, int]
    """rows and columns of its file"""
    hash: str
    moments: Moments | None
    """of its pixels, of depth those that were measured; None if none was"""
    low: float
    high: float
    share: float
    """of the pixels that was measured"""


class Found(NamedTuple):
    """Of one row."""

    row: Row
    streams: dict[str, Facts | Unusable]
    target: Facts | Unusable
    numbers: dict[int, int]
    """of a label picture: number -> pixels"""


def survey(splits: Mapping[str, Sequence[Row]], reader: Reader, kept: Kept[Loads]) -> dict[str, list[Found]]:
    """Reads every row, those of training first, and keeps what there is room for."""
    found: dict[str, list[Found]] = {split: [] for split in splits}
    tasks = [(split, row) for split, rows in splits.items() for row in rows]
    threads = min(torch.get_num_threads(), THREADS)
    results = ahead(lambda task: (task[0], _look(task[1], reader, kept)), tasks, threads)
    for split, one in watched(results, "reading pictures", len(tasks)):
        found[split].append(one)
    return found


def _look(row: Row, reader: Reader, kept: Kept[Loads]) -> Found:
    loads = reader.read(row)
    parts = [part for part in (*loads.streams.values(), loads.target) if isinstance(part, Loaded)]
    kept.add(row.id, loads, sum(part.x.nbytes for part in parts))
    streams = {name: _facts(loaded, reader.streams[name]) for name, loaded in loads.streams.items()}
    target, numbers = _facts(loads.target, reader.target), dict[int, int]()
    if reader.target is None and isinstance(loads.target, Loaded):
        values, counts = torch.unique(loads.target.x, return_counts=True)
        numbers = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return Found(row, streams, target, numbers)


def _facts(loaded: Loaded | Unusable, stream: PictureStream | None) -> Facts | Unusable:
    """`stream`: None of a label picture."""
    if isinstance(loaded, Unusable):
        return loaded
    if stream is None:
        return Facts(loaded.size, loaded.hash, None, 0.0, 0.0, 1.0)
    x = measured(loaded.x, stream)
    pixels = loaded.x.shape[0] * loaded.x.shape[1]
    if not len(x):
        return Facts(loaded.size, loaded.hash, None, 0.0, 0.0, 0.0)
    return Facts(loaded.size, loaded.hash, Moments.of(x.numpy()), float(x.min()), float(x.max()), len(x) / pixels)


def usable(
    found: Mapping[str, Sequence[Found]], pixels: Pixels, losses: Losses, *, labels: bool
) -> tuple[dict[str, list[Found]], list[str]]:
    """Split -> rows that can be used, with their usable streams only; and the classes. What cannot goes to `losses`.

    Raises ValueError if the numbers in label pictures are rather instances than classes.
    """
    kept = {split: [one for one in part if _has_all(one, losses)] for split, part in found.items()}
    kept = {split: [_without(one) for one in part] for split, part in kept.items()}
    if not labels:
        return kept, []
    kept = {split: [one for one in part if _is_labelled(one, pixels, losses)] for split, part in kept.items()}
    classes = pixels.classes or _numbered(kept["train"], pixels.ignore)
    kept = {split: [one for one in part if _in_range(one, classes, pixels, losses)] for split, part in kept.items()}
    return kept, list(classes)


def _has_all(one: Found, losses: Losses) -> bool:
    """Whether there are a target and a stream."""
    for name, facts in one.streams.items():
        if isinstance(facts, Unusable):
            losses.add(one.row, name, str(facts), facts.trace)
    if isinstance(one.target, Unusable):
        losses.add(one.row, "", str(one.target), one.target.trace)
        return False
    if not any(isinstance(facts, Facts) for facts in one.streams.values()):
        losses.add(one.row, "", "no usable stream")
        return False
    return True


def _without(one: Found) -> Found:
    """The row with its usable streams only."""
    files = {name: one.row.files[name] for name, facts in one.streams.items() if isinstance(facts, Facts)}
    return one._replace(row=one.row._replace(files=files))


def _is_labelled(one: Found, pixels: Pixels, losses: Losses) -> bool:
    if set(one.numbers) == {pixels.ignore}:
        reason = f"every pixel is {pixels.ignore}, the number that is ignored (pixels.ignore)"
        losses.add(one.row, "", f"{one.row.label}: {reason}")
        return False
    return True


def _numbered(train: Sequence[Found], ignore: int) -> list[str]:
    """0, 1 ... to the largest number of the training split."""
    last = max((number for one in train for number in one.numbers if number != ignore), default=-1)
    if last >= MOST_CLASSES:
        worst = next(one for one in train if last in one.numbers)
        raise ValueError(
            f"sample {worst.row.id}: {worst.row.label} holds the number {last:,}, more than {MOST_CLASSES:,} classes: "
            "are these instances? Name the classes in pixels.classes, or set pixels.ignore to the number of no class"
        )
    return [str(number) for number in range(last + 1)]


def _in_range(one: Found, classes: Sequence[str], pixels: Pixels, losses: Losses) -> bool:
    outside = [number for number in one.numbers if number != pixels.ignore and not 0 <= number < len(classes)]
    if not outside:
        return True
    shown = ", ".join(map(str, outside[:5])) + (", ..." if len(outside) > 5 else "")
    of = "pixels.classes names" if pixels.classes else "the training split has"
    losses.add(
        one.row,
        "",
        f"{one.row.label}: holds {shown} in {counted(sum(one.numbers[number] for number in outside), 'pixel')}; {of} "
        f"{counted(len(classes), 'class')}, 0 to {len(classes) - 1}, and {pixels.ignore} is ignored (pixels.ignore)",
    )
    return False


def shown_classes(found: Sequence[Found]) -> Counter[int]:
    """Number -> pictures that show it."""
    return Counter(number for one in found for number in one.numbers)


def facts_of(found: Mapping[str, Sequence[Found]], name: str) -> Iterator[tuple[Found, Facts]]:
    """The usable pictures of a stream, of all splits."""
    for part in found.values():
        for one in part:
            facts = one.streams.get(name)
            if isinstance(facts, Facts):
                yield one, facts
