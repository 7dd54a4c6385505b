"""EPIC-Kitchens-100: kitchen actions cut from long videos by their times; two targets, `data.label=verb+noun`.

Damen et al., Rescaling egocentric vision, 2022. Layout: EPIC_100_train.csv, EPIC_100_validation.csv,
EPIC_100_verb_classes.csv and EPIC_100_noun_classes.csv as published; the videos anywhere below the folder as
<video_id>.MP4. The .pkl files are pandas pickles: they are not read.
"""

import re
from pathlib import Path
from typing import Literal

from sparsefuse.data.formats import demand, demand_columns
from sparsefuse.data.formats._media import media, refer, report_missing
from sparsefuse.errors import unknown
from sparsefuse.files.rows import write_table

LISTS = ("EPIC_100_train.csv", "EPIC_100_validation.csv", "EPIC_100_verb_classes.csv", "EPIC_100_noun_classes.csv")
COLUMNS = ("narration_id", "video_id", "start_timestamp", "stop_timestamp", "verb_class", "noun_class")


def prepare(source: Path, out: Path, *, validation: Literal["test", "valid"] = "test") -> Path:
    """Writes a manifest with `start` and `end` in seconds, verb.csv and noun.csv (the lists of classes), skipped.jsonl.

    `validation`: which split the published validation list is. Results are reported on it, so it is the test split, and
    training draws a validation split from train. EPIC_100_test_timestamps.csv has no labels and is left out. The group
    is the video. Set data.label to verb+noun, and data.classes to {verb: verb.csv, noun: noun.csv}.
    Checked: classes are in the lists, times are in order, ids are unique.
    """
    train, valid, *lists = demand("epic", source, *LISTS)
    classes = {name: _classes(path) for name, path in zip(("verb", "noun"), lists, strict=True)}
    videos = {name: refer(files["video"], out) for name, files in media(source).items() if "video" in files}
    rows, missing = [], []
    total = 0
    for path, split in ((train, "train"), (valid, validation)):
        for line, row in enumerate(demand_columns(path, *COLUMNS), start=2):
            where = f"{path}, line {line}"
            total += 1
            targets = {name: _named(where, name, row[f"{name}_class"], classes[name]) for name in classes}
            start, end = _seconds(where, row["start_timestamp"]), _seconds(where, row["stop_timestamp"])
            if start >= end:
                raise ValueError(f"{where}: the action goes from {row['start_timestamp']} to {row['stop_timestamp']}")
            if row["video_id"] not in videos:
                missing.append((row["narration_id"], f"no file {row['video_id']}.MP4"))
                continue
            times = {"start": f"{start:.2f}", "end": f"{end:.2f}"}
            head = {
                "id": row["narration_id"],
                "video": videos[row["video_id"]],
                "split": split,
                "group": row["video_id"],
            }
            rows.append(head | times | targets)
    report_missing("epic", out, missing, total, f"<video_id>.MP4 below {source}")
    for name, keys in classes.items():
        write_table(out / f"{name}.csv", [{"id": id, "key": key} for id, key in keys.items()])
    return write_table(out / "manifest.csv", rows)


def _classes(path: Path) -> dict[str, str]:
    return {row["id"]: row["key"] for row in demand_columns(path, "id", "key")}


def _named(where: str, name: str, id: str, classes: dict[str, str]) -> str:
    if id not in classes:
        raise ValueError(f"{where}: {unknown(f'{name}_class', id, classes)}"[:500])
    return classes[id]


def _seconds(where: str, text: str) -> float:
    """Of hours:minutes:seconds."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", text)
    if not match:
        raise ValueError(f"{where}: time {text!r}, expected hours:minutes:seconds as 00:01:02.50")
    return 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])
