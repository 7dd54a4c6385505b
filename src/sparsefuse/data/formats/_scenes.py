"""What recipes of pictures share: how folders are read, and the manifest and configuration at the end."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse.config.pixels import PixelTask
from sparsefuse.data.formats._finish import finish
from sparsefuse.data.formats._media import refer, walk
from sparsefuse.files.references import FEATURES
from sparsefuse.files.skipped import Skip
from sparsefuse.files.whole import write_text
from sparsefuse.media.still import STILLS

log = logging.getLogger(__name__)

PICTURES = STILLS | (FEATURES - {".csv"})
SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
LABELS = ("label", "labels", "mask", "masks", "seg", "segmentation", "gt", "target", "targets")
"""names of a folder of label or target pictures, in any case"""
NORMALS = ("normal", "normals")


class Sample(NamedTuple):
    """Pictures of one name."""

    split: str
    files: dict[str, Path]
    """folder, in lower case -> its picture"""


def folders(name: str, source: Path, out: Path) -> dict[str, Sample]:
    """Id -> its pictures, of a folder per stream, below or above folders of splits, or beside lists of them.

    Lists are train.txt, val.txt, test.txt: a line has a sample's name, or its files. Raises FileNotFoundError without
    a picture in a folder, ValueError for two pictures of one sample and stream.
    """
    listed = _listed(source)
    inside = source.resolve() in out.resolve().parents
    samples: dict[str, Sample] = {}
    for path in walk(source):
        if inside and out.resolve() in (path.parent.resolve() / path.name).parents:
            continue  # what an earlier run wrote
        parts = list(path.relative_to(source).parts[:-1])
        split = next((SPLITS[part.lower()] for part in parts if part.lower() in SPLITS), "")
        parts = [part for part in parts if part.lower() not in SPLITS]
        if not parts or path.suffix.lower() not in PICTURES:
            continue
        stream, id = parts[0].lower(), "/".join([*filter(None, [split]), *parts[1:], path.stem])
        sample = samples.setdefault(id, Sample(split or listed.get(path.stem, ""), {}))
        if stream in sample.files:
            raise ValueError(f"{name}: {path} and {sample.files[stream]} are both the {stream} of {id}; rename one")
        sample.files[stream] = path
    if not samples:
        raise FileNotFoundError(f"{name}: {source} has no folders of pictures; expected such as rgb, depth and label")
    return samples


def _listed(source: Path) -> dict[str, str]:
    """Stem -> split."""
    found = {}
    for path in sorted(source.glob("*.txt")):
        if split := SPLITS.get(path.stem.lower()):
            for line in path.read_text(encoding="utf-8-sig").splitlines():
                if cells := line.replace("\t", " ").split():
                    found[Path(cells[0]).stem] = split
    return found


def rows_of(
    samples: Mapping[str, Sample], label: str, out: Path, *, fixed: Mapping[str, Mapping[str, str]] | None = None
) -> tuple[list[dict[str, str]], list[Skip]]:
    """The manifest's rows, and what is left out: samples without a label picture, and in no split if there are some.

    `fixed`: id -> column -> the cell of a file that was written in place of the one in the folder.
    """
    streams = sorted({name for sample in samples.values() for name in sample.files} - {label})
    divided = any(sample.split for sample in samples.values())
    rows, skips = [], []
    for id, sample in sorted(samples.items()):
        if label not in sample.files:
            skips.append(Skip(id, "", f"there is no picture of it in {label}"))
        elif divided and not sample.split:
            skips.append(Skip(id, "", "no list of a split names it"))
        else:
            cells = {name: refer(sample.files[name], out) if name in sample.files else "" for name in [*streams, label]}
            named = cells | dict((fixed or {}).get(id, {}))
            rows.append({"id": id, **({"split": sample.split} if divided else {}), **named})
    return rows, skips


def finish_scenes(
    name: str,
    out: Path,
    rows: list[dict[str, str]],
    skips: list[Skip],
    *,
    label: str,
    task: PixelTask = "segment",
    streams: Mapping[str, Mapping[str, Any]] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the manifest, skipped.jsonl and TASK.yaml; returns the manifest.

    `streams`: what pixels.streams says of each that is there, besides normals; `more`: the rest of `pixels`.
    """
    import yaml

    manifest = finish(out, [], rows, skips, f"the samples of {name}")
    names = [column for column in rows[0] if column not in ("id", "split", "group", label)]
    used = [column for column in names if any(row[column] for row in rows)]
    known = {column: {"kind": "normal"} for column in used if column in NORMALS} | dict(streams or {})
    pixels = {"streams": {column: dict(known[column]) for column in used if column in known}, **(more or {})}
    data = {"manifest": manifest.name, "task": task, "modalities": used, "label": label}
    tree = {"data": data, "pixels": {key: value for key, value in pixels.items() if value}}
    text = yaml.safe_dump({key: value for key, value in tree.items() if value}, sort_keys=False, allow_unicode=True)
    head = f"# Made by `sparsefuse prepare {name}`. sparsefuse train {task}.yaml --out runs/{name}\n"
    write_text(out / f"{task}.yaml", head + text)
    log.info("%s: train on %s", name, out / f"{task}.yaml")
    return manifest


def label_folder(name: str, source: Path, samples: Iterable[Sample], label: str = "") -> str:
    """The folder of label or target pictures: `label`, or the first with a usual name. Raises FileNotFoundError."""
    there = sorted({stream for sample in samples for stream in sample.files})
    for candidate in [label.lower()] if label else LABELS:
        if candidate in there:
            return candidate
    expected = label or " or ".join(LABELS)
    raise FileNotFoundError(f"{name}: {source} has no folder {expected} with pictures; it has {', '.join(there)[:300]}")


def without_answers(name: str, samples: Mapping[str, Sample], label: str) -> dict[str, Sample]:
    """The samples of a segmentation without other folders of labels, which no stream may be."""
    others = sorted({stream for sample in samples.values() for stream in sample.files if stream in LABELS} - {label})
    if others:
        log.warning("%s: %s %s no stream, because of the name; rename what is no label, and prepare again",
                    name, " and ".join(others), "is" if len(others) == 1 else "are")  # fmt: skip
    return {
        id: sample._replace(files={stream: path for stream, path in sample.files.items() if stream not in others})
        for id, sample in samples.items()
    }


def first(samples: Iterable[Sample], stream: str) -> Path | None:
    """A picture of the stream."""
    return next((sample.files[stream] for sample in samples if stream in sample.files), None)


def named(names: Sequence[str], count: int) -> list[str]:
    """The names of classes, if these are all."""
    return list(names) if count <= len(names) else []
