"""VGGSound: ten-second YouTube clips of 309 sounds, whole or as the SFT paper's VGGS10 and VGGS100.

Chen et al., VGGSound: a large-scale audio-visual dataset, 2020. Layout: vggsound.csv (YouTube id, start second, label,
train or test; no header), or train.csv and test.csv (file, label); the clips anywhere below the folder, named
<id>_<start as 000012>.mp4, <id>_<start ms>_<end ms>.mp4, or <id>.mp4 for a whole video; stat.csv (label, clips, kind)
if it is there.
"""

import logging
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from sparsefuse.data.formats import demand, demand_cells
from sparsefuse.data.formats._media import cells, media, report_missing
from sparsefuse.errors import unknown
from sparsefuse.files.rows import write_table

log = logging.getLogger(__name__)

VGGS10 = (
    *("airplane", "baby babbling", "baby crying", "baby laughter", "cat meowing", "cat purring"),
    *("people marching", "people running", "playing bass guitar", "playing electric guitar"),
)
"""The SFT paper's ten classes (its appendix A.1)."""
SECONDS = 10


class _Entry(NamedTuple):
    video: str
    start: int
    label: str
    split: str


def prepare(
    source: Path,
    out: Path,
    *,
    subset: Literal["all", "vggs10", "vggs100"] = "all",
    valid: float = 0.2,
    seed: int = 0,
) -> Path:
    """Writes a manifest that points at the clips where they are, and skipped.jsonl with every clip without a file.

    `vggs10`: the paper's ten classes; `vggs100`: these and ninety drawn with `seed` from the other ones in order of
    the alphabet (the paper does not list its ninety). `valid`: share of the training videos of every class, drawn with
    `seed` before files are looked for. All clips of a video go into one split, but for those of the test list.
    Checked: labels and clips per class against stat.csv.
    """
    if not 0 <= valid < 1:
        raise ValueError(f"vggsound: option valid is {valid}, expected a share from 0 to below 1")
    entries, complete = _read(source)
    _check(source / "stat.csv", entries, complete)
    chosen = _classes(subset, {entry.label for entry in entries}, seed)
    entries = [entry for entry in entries if entry.label in chosen]
    held = _held_out((entry for entry in entries if entry.split == "train"), valid, seed)
    clips, rows, missing = media(source), [], []
    paths = []
    for entry in entries:
        id = f"{entry.video}_{entry.start:06d}"
        end = entry.start + SECONDS
        long = f"{entry.video}_{1000 * entry.start}_{1000 * end}"
        cut = clips.get(id) or clips.get(long)
        files = cut or clips.get(entry.video)
        if not files:
            missing.append((id, f"no file {id}.mp4, {long}.mp4 or {entry.video}.mp4"))
            continue
        split = "valid" if entry.split == "train" and entry.video in held else entry.split
        times = {"start": "", "end": ""} if cut else {"start": str(entry.start), "end": str(end)}
        rows.append({"id": id, "label": entry.label, "split": split, "group": entry.video} | times)
        paths.append(files)
    report_missing("vggsound", out, missing, len(entries), f"<id>_<start as 000012>.mp4 below {source}")
    rows = [row | files for row, files in zip(rows, cells(paths, out), strict=True)]
    if not any(row["start"] for row in rows):
        rows = [{name: cell for name, cell in row.items() if name not in ("start", "end")} for row in rows]
    return write_table(out / "manifest.csv", rows)


def _read(source: Path) -> tuple[list[_Entry], bool]:
    """All entries, and whether both splits are there."""
    if (source / "vggsound.csv").is_file():
        path = source / "vggsound.csv"
        entries = [_entry(path, number, *row) for number, row in demand_cells(path, "id", "start", "label", "split")]
        return entries, True
    if not (source / "train.csv").is_file():
        demand("vggsound", source, "test.csv" if (source / "test.csv").is_file() else "vggsound.csv")
    entries = []
    there = [split for split in ("train", "test") if (source / f"{split}.csv").is_file()]
    for split in there:
        path = source / f"{split}.csv"
        for number, (file, label) in demand_cells(path, "file", "label"):
            match = re.fullmatch(r"(.+)_(\d+)\.\w+", file)
            if not match:
                raise ValueError(f"{path}, line {number}: {file!r}, expected <id>_<start as 000012>.mp4")
            entries.append(_entry(path, number, match[1], match[2], label, split))
    return entries, len(there) == 2


def _entry(path: Path, number: int, video: str, start: str, label: str, split: str) -> _Entry:
    if not start.isdigit() or split not in ("train", "test"):
        raise ValueError(
            f"{path}, line {number}: start {start!r} and split {split!r}; expected whole seconds, and train or test"
        )
    return _Entry(video, int(start), label, split)


def _check(path: Path, entries: list[_Entry], complete: bool) -> None:
    """Raises ValueError for a label that stat.csv does not have; warns of other counts."""
    twice = [entry for entry, count in Counter((entry.video, entry.start) for entry in entries).items() if count > 1]
    if twice:
        raise ValueError(f"vggsound: clip {twice[0][0]} at second {twice[0][1]} is twice in the list")
    if not path.is_file():
        return
    expected = {label: int(count) for _, (label, count, _) in demand_cells(path, "label", "clips", "kind")}
    counts = Counter(entry.label for entry in entries)
    for label in counts:
        if label not in expected:
            raise ValueError(f"vggsound: the list has an {unknown('label', label, expected)}"[:500])
    wrong = [label for label, count in expected.items() if counts[label] != count]
    if complete and wrong:
        log.warning(
            "vggsound: %d of %d classes have another number of clips than stat.csv says, such as %s: %d, not %d",
            len(wrong), len(expected), wrong[0], counts[wrong[0]], expected[wrong[0]],
        )  # fmt: skip


def _classes(subset: str, labels: set[str], seed: int) -> set[str]:
    if subset == "all":
        return labels
    if missing := [label for label in VGGS10 if label not in labels]:
        raise ValueError(f"vggsound: the list has no clips of {', '.join(missing)}, which {subset} needs")
    others = sorted(labels - set(VGGS10))
    if subset == "vggs10":
        return set(VGGS10)
    if len(others) < 90:
        raise ValueError(f"vggsound: vggs100 needs 100 classes, the list has {len(labels)}")
    return {*VGGS10, *random.Random(seed).sample(others, 90)}


def _held_out(entries: Iterable[_Entry], share: float, seed: int) -> set[str]:
    """The videos of the validation split: of every class the same share."""
    classes: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        classes[entry.label].add(entry.video)
    draw, decided, held = random.Random(seed), set(), set()
    for label in sorted(classes):
        videos = sorted(classes[label])
        draw.shuffle(videos)
        missing = round(share * len(videos)) - sum(video in held for video in videos)
        held.update([video for video in videos if video not in decided][: max(missing, 0)])
        decided.update(videos)
    return held
