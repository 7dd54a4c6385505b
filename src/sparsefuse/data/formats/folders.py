"""A folder per class: the folders' names are the labels, the files inside are the clips.

Layout: <class>/<clip>.mp4, or <split>/<class>/<clip>.mp4 with the splits train, valid (or val, validation) and test.
A folder inside a class's is a group, such as a speaker: <class>/<group>/<clip>.mp4. Files that differ in nothing but
their suffix (.mp4 and .wav, say) are one clip. A .csv is a clip's sensor readings, in the column `series`.
"""

import logging
from itertools import combinations
from pathlib import Path

from sparsefuse.data.formats._media import refer, walk
from sparsefuse.data.formats._scenes import LABELS
from sparsefuse.files.references import AUDIO, FEATURES, IMAGES, TABLES, TEXTS, VIDEO
from sparsefuse.files.rows import write_table
from sparsefuse.shown import counted

log = logging.getLogger(__name__)

SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
COLUMNS = {
    "video": VIDEO,
    "audio": AUDIO,
    "image": IMAGES,
    "text": TEXTS,
    "series": TABLES,
    "features": FEATURES - TABLES,
}
"""manifest column -> suffixes of its files"""
STREAMS = {"rgb", "color", "colour", "depth", "normal", "flow", "thermal", "infrared", "video", "audio", "sound"}
"""names of folders that are hardly classes where two of them hold files of the same names"""
RUN = ("model.json", "clock.json")
"""files of which a run folder has one: no class, though its features could be clips"""


def prepare(source: Path, out: Path) -> Path:
    """Writes a manifest that points at the files where they are.

    Checked: there are at least two classes; every class has clips in train, if there are splits. Files of other kinds,
    and those outside a class, are counted in a warning.
    """
    tops = [item.name for item in source.iterdir() if item.is_dir() and not item.name.startswith(".")]
    splits = bool(tops) and all(name.lower() in SPLITS for name in tops)
    runs = sorted(name for name in tops if any((source / name / file).is_file() for file in RUN))
    inside = source.resolve() in out.resolve().parents
    clips: dict[str, dict[str, str]] = {}
    lost = []
    for path in walk(source):
        place = path.relative_to(source)
        folders = list(place.parts[:-1])
        column = next((name for name, suffixes in COLUMNS.items() if path.suffix.lower() in suffixes), "")
        if inside and out.resolve() in (path.parent.resolve() / path.name).parents:
            continue  # what an earlier run wrote
        if place.parts[0] in runs:
            continue
        if not column or len(folders) <= splits:
            lost.append(path)
            continue
        clip = clips.setdefault(place.with_suffix("").as_posix(), {})
        if column in clip:
            raise ValueError(f"folders: {path} and {out / clip[column]} are both the {column} of one clip; rename one")
        clip[column] = refer(path, out)
        if splits:
            clip["split"] = SPLITS[folders.pop(0).lower()]
        clip["label"], clip["group"] = folders[0], "/".join(folders[1:])
    if runs:
        log.warning("%s left out, which hold runs and no clips: %s", counted(len(runs), "folder"), ", ".join(runs))
    _demand_classes(source, lost, list(clips.values()))
    _refuse_streams(source, clips)
    if lost:
        count = counted(len(lost), "file")
        log.warning("%s left out: no media or feature file, or in no class; such as %s", count, lost[0])
    columns = [name for name in (*COLUMNS, "label", "split", "group") if any(clip.get(name) for clip in clips.values())]
    rows = [{"id": id} | {name: clip.get(name, "") for name in columns} for id, clip in sorted(clips.items())]
    return write_table(out / "manifest.csv", rows)


def _demand_classes(source: Path, lost: list[Path], clips: list[dict[str, str]]) -> None:
    classes = sorted({clip["label"] for clip in clips})
    if not classes and any(path.suffix.lower() in frozenset().union(*COLUMNS.values()) for path in lost):
        above = source.parent if source.parent.name else source.resolve().parent
        raise FileNotFoundError(
            f"folders: {source} holds clips itself, as the folder of one class does; give the folder above, "
            f"{above}, if its folders are the classes"
        )
    if len(classes) < 2:
        inner = {clip["group"].partition("/")[0] for clip in clips}
        below = f"; did you mean {source / classes[0]}?" if len(inner - {""}) > 1 else ""
        raise FileNotFoundError(
            f"folders: {source} has no two folders with clips, a class each; found: {', '.join(classes) or 'none'}; "
            f"expected <class>/<clip>.mp4 or train/<class>/<clip>.mp4{below}"
        )
    trained = {clip["label"] for clip in clips if clip.get("split", "") in ("train", "")}
    if untrained := [label for label in classes if label not in trained]:
        raise ValueError(f"folders: {source} has no train clips of {', '.join(untrained[:5])}; they cannot be learned")


def _refuse_streams(source: Path, clips: dict[str, dict[str, str]]) -> None:
    """Raises ValueError if folders look like the streams of the same clips: a classifier would tell rgb from depth."""
    files: dict[str, set[str]] = {}
    for id, clip in clips.items():
        name = clip["label"].lower()
        if name in LABELS or name.removesuffix("s") in STREAMS:
            files.setdefault(clip["label"], set()).add(Path(id).name)
    for a, b in combinations(sorted(files), 2):
        if len(files[a] & files[b]) > 0.8 * min(len(files[a]), len(files[b])) and len(files[a] | files[b]) > 1:
            pictures = all("image" in clip for clip in clips.values())
            way = (
                "`sparsefuse prepare pictures`, for a class per pixel" if pictures else "a manifest, with a column each"
            )
            raise ValueError(
                f"folders: {source} has folders {a} and {b} with files of the same names, which look like streams of "
                f"the same clips; a folder here is a class. Use {way}, or rename the folders if they are classes"
            )
