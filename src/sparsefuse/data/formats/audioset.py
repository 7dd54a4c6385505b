"""AudioSet: ten-second YouTube clips with several of 527 sounds each; labels are joined by |.

Gemmeke et al., Audio Set: an ontology and human-labeled dataset for audio events, 2017. Layout: eval_segments.csv,
balanced_train_segments.csv and/or unbalanced_train_segments.csv (YouTube id, start, end, "mid,mid"; no header, lines of
notes begin with #), class_labels_indices.csv (index, mid, display_name); the files anywhere below the folder, cut as
<id>_<start ms>_<end ms>.mp4, <id>_<start as 000030>.mp4 or Y<id>.wav, or whole videos as <id>.mp4.
"""

from pathlib import Path
from typing import Literal

from sparsefuse.data.formats import demand, demand_cells, demand_columns
from sparsefuse.data.formats._media import cells, media, report_missing
from sparsefuse.errors import unknown
from sparsefuse.files.rows import write_table


def prepare(source: Path, out: Path, *, train: Literal["balanced", "unbalanced", "both"] = "balanced") -> Path:
    """Writes a manifest that points at the clips where they are, and skipped.jsonl with every clip without a file.

    `train` chooses the training lists. The evaluation list is the test split; AudioSet has no validation split, so
    training draws one from train. Whole videos get the columns `start` and `end`, in seconds.
    Checked: every label is in the class list, times are in order, no clip is in two lists.
    """
    lists = {"balanced": ["balanced"], "unbalanced": ["unbalanced"], "both": ["balanced", "unbalanced"]}[train]
    names = [f"{name}_train_segments.csv" for name in lists]
    classes, *tables = demand("audioset", source, "class_labels_indices.csv", *names, "eval_segments.csv")
    labels = {row["mid"]: row["display_name"] for row in demand_columns(classes, "mid", "display_name")}
    clips, rows, paths, missing = media(source), {}, [], []
    ids: set[str] = set()
    for path in tables:
        for line, (video, start, end, mids) in demand_cells(path, "id", "start", "end", "labels"):
            where = f"{path}, line {line}"
            first, last = _seconds(where, start, end)
            id = f"{video}_{round(1000 * first)}_{round(1000 * last)}"
            if id in ids:
                raise ValueError(f"{where}: clip {id} is in the lists twice")
            ids.add(id)
            row = {"id": id, "label": _label(where, mids, labels)}
            cut = clips.get(id) or clips.get(f"{video}_{int(first):06d}") or clips.get(f"Y{video}")
            files = cut or clips.get(video)
            if not files:
                missing.append((id, f"no file {id}.mp4, {video}_{int(first):06d}.mp4, Y{video}.wav or {video}.mp4"))
                continue
            times = {"start": "", "end": ""} if cut else {"start": f"{first:g}", "end": f"{last:g}"}
            rows[id] = row | {"split": "test" if path == tables[-1] else "train", "group": video} | times
            paths.append(files)
    report_missing("audioset", out, missing, len(ids), f"<id>_<start ms>_<end ms>.mp4 below {source}")
    table = [row | files for row, files in zip(rows.values(), cells(paths, out), strict=True)]
    if not any(row["start"] for row in table):
        table = [{name: cell for name, cell in row.items() if name not in ("start", "end")} for row in table]
    return write_table(out / "manifest.csv", table)


def _seconds(where: str, start: str, end: str) -> tuple[float, float]:
    try:
        first, last = float(start), float(end)
    except ValueError:
        raise ValueError(f"{where}: times {start!r} and {end!r}, expected seconds") from None
    if not 0 <= first < last:
        raise ValueError(f"{where}: the clip goes from {start} to {end} s")
    return first, last


def _label(where: str, mids: str, labels: dict[str, str]) -> str:
    for mid in mids.split(","):
        if mid not in labels:
            raise ValueError(f"{where}: {unknown('label', mid, labels)}"[:500])
    return "|".join(labels[mid] for mid in mids.split(","))
