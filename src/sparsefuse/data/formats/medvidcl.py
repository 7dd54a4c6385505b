"""MedVidCL: is a video a medical instruction, another medical video, or neither? Video and subtitles.

Gupta et al., A dataset for medical instructional video classification and question answering, 2023. Layout: train.json,
val.json and test.json (lists of objects with video_id, label and video_sub_title), and the videos anywhere below the
folder as <video_id>.mp4, if they were fetched.
"""

import json
from pathlib import Path
from typing import Any

from sparsefuse.data.formats import demand, demand_names
from sparsefuse.data.formats._media import cells, media, report_missing
from sparsefuse.errors import unknown
from sparsefuse.files.rows import write_table
from sparsefuse.files.whole import write_text

SPLITS = {"train": "train.json", "valid": "val.json", "test": "test.json"}
NEEDED = ("video_id", "label")


def prepare(source: Path, out: Path) -> Path:
    """Writes text/<video_id>.txt (the subtitles), a manifest, and skipped.jsonl with videos that have neither.

    Checked: every object has its keys, no video is there twice.
    """
    paths = demand("medvidcl", source, *SPLITS.values())
    clips, rows, files, missing = media(source), {}, [], []
    total = 0
    for split, path in zip(SPLITS, paths, strict=True):
        for number, entry in enumerate(_entries(path)):
            id, label = (_text(path, number, entry, key) for key in NEEDED)
            demand_names(path, [id])
            if id in rows:
                raise ValueError(f"{path}, entry {number}: video {id} is there twice")
            total += 1
            words = str(entry.get("video_sub_title") or "").strip()
            if not words and id not in clips:
                missing.append((id, f"no file {id}.mp4 and no video_sub_title"))
                continue
            if words:
                write_text(out / "text" / f"{id}.txt", words + "\n")
            rows[id] = {"id": id, "text": f"text/{id}.txt" if words else "", "label": label, "split": split}
            files.append(clips.get(id, {}))
    report_missing(
        "medvidcl", out, missing, total, f"video_sub_title in {paths[0].name}, or <video_id>.mp4 below {source}"
    )
    table = [row | more for row, more in zip(rows.values(), cells(files, out), strict=True)]
    return write_table(out / "manifest.csv", table)


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # UnicodeDecodeError too
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path}: holds a {type(entries).__name__}, expected a list of objects {{...}}")
    return entries


def _text(path: Path, number: int, entry: dict[str, Any], key: str) -> str:
    if key not in entry:
        raise ValueError(f"{path}, entry {number}: {unknown('key', key, entry)}; expected {', '.join(NEEDED)}")
    if not str(entry[key]).strip():
        raise ValueError(f"{path}, entry {number}: {key} is empty")
    return str(entry[key]).strip()
