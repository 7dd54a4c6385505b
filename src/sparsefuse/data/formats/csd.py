"""Computational sequences (.csd) of the CMU Multimodal SDK: features and labels with times, cut to labelled segments.

Zadeh et al., Multi-attention recurrent network for human communication comprehension, 2018. Layout: one .csd of labels
(its name has "label") and one per modality; each is HDF5: <root>/data/<video>/features (n, F) and intervals (n, 2) in
seconds, <root>/metadata. With videos below the folder, named <video>.mp4, modalities are not needed.
"""

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from sparsefuse.data.formats import demand
from sparsefuse.data.formats._finish import finish
from sparsefuse.data.formats._media import media, refer
from sparsefuse.data.formats._packs import usable
from sparsefuse.data.formats._sentiment import targets
from sparsefuse.data.hdf5 import open_hdf5, read_dataset
from sparsefuse.data.shards import Shards
from sparsefuse.errors import unknown
from sparsefuse.files.declared import ROW, check_bytes
from sparsefuse.files.skipped import Skip, Unusable, one_file
from sparsefuse.shown import said


def prepare(source: Path, out: Path, *, labels: str = "") -> Path:
    """Writes a clip per labelled segment: of every modality the rows whose middle lies in it, converted to float32.

    `labels`: the file of labels, if several have "label" in their names. A modality is named as its sequence, with _
    for anything but letters and digits. `label` has the seven classes of the first label, `sentiment` its number; more
    labels have columns named as the file names them. Splits are not in these files: the group is the video. `start`
    and `end` are seconds. -inf in `audio` and COVAREP becomes 0. Videos, if there are any, are the column `video`.
    Checked: shapes, times in order; a segment without rows or with NaN is in skipped.jsonl.
    """
    paths = sorted(source.glob("*.csd"))
    chosen = _label_file(source, paths, labels)
    with ExitStack() as stack:
        target = _Sequence(chosen, stack)
        others = [_Sequence(path, stack) for path in paths if path != chosen]
        names = [each.name for each in others]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"csd: {source} has several sequences named {', '.join(sorted(twice))}")
        return _write(target, others, media(source), out, source)


def _write(
    target: "_Sequence", others: list["_Sequence"], media_files: dict[str, dict[str, Path]], out: Path, source: Path
) -> Path:
    there = any(video in media_files and "video" in media_files[video] for video in target.videos)
    if not others and not there:
        raise FileNotFoundError(f"csd: {source} has no .csd of features and no <video>.mp4 beside {target.path.name}")
    shards = {each.name: Shards(out, each.name) for each in others}
    rows, skips = [], []
    segments = 0
    for video in target.videos:
        values, times = target.read(video)
        segments += len(times)
        check_bytes(ROW * segments, target.path.stat().st_size, f"{target.path}: a table of {segments:,} segments")
        streams = {each.name: _stream(each, video) for each in others}
        for i, (start, end) in enumerate(times.tolist()):
            id = f"{video}_{i}"
            row = {"id": id}
            lost = []
            for name, stream in streams.items():
                cut = _between(name, stream, start, end)
                row[name] = "" if isinstance(cut, Unusable) else shards[name].add(id, cut)
                lost += [Skip(id, name, f"{name} {cut}")] if isinstance(cut, Unusable) else []
            if there:
                row["video"] = refer(media_files[video]["video"], out) if "video" in media_files.get(video, {}) else ""
                lost += [] if row["video"] else [Skip(id, "video", f"no file {video}.mp4")]
            if any(cell for name, cell in row.items() if name != "id"):
                times_of = {"start": f"{start:.3f}", "end": f"{end:.3f}"}
                rows.append(row | _labels(target.columns, values[i].tolist()) | {"group": video} | times_of)
                skips += lost
            else:
                skips.append(Skip(id, "", "; ".join(skip.reason for skip in lost)))
    return finish(out, shards.values(), rows, skips, "its segments")


def _label_file(source: Path, paths: list[Path], labels: str) -> Path:
    if not paths:
        demand("csd", source, "*.csd")
    if labels:
        if labels not in [path.name for path in paths]:
            raise ValueError(f"csd: {unknown('file', labels, [path.name for path in paths])}")
        return source / labels
    matches = [path for path in paths if "label" in path.name.lower()]
    if len(matches) != 1:
        shown = ", ".join(path.name for path in paths)
        raise ValueError(f"csd: {len(matches)} files have 'label' in their names ({shown}); set the option labels")
    return matches[0]


class _Sequence:
    """One open .csd file."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        try:
            file = stack.enter_context(open_hdf5(path))
        except OSError as error:
            raise ValueError(f"{path}: cannot be read, truncated or not HDF5 ({said(error)})") from error
        roots = list(file)
        root: Any = file[roots[0]] if len(roots) == 1 else None
        if not isinstance(root, Mapping) or not isinstance(root.get("data"), Mapping):
            raise ValueError(
                f"{path}: holds {', '.join(roots[:5]) or 'nothing'}; expected <root>/data/<video>/features"
            )
        self.root: Any = root
        self.name = re.sub(r"\W+", "_", roots[0]).strip("_")
        self.data: Any = self.root["data"]
        self.videos = sorted(self.data)

    @property
    def columns(self) -> list[str]:
        """The file's names of its features."""
        try:
            text = self.root["metadata/dimension names"][0]
            names = json.loads(text)
        except (KeyError, ValueError, IndexError, TypeError, AttributeError, RuntimeError):
            return []
        return [re.sub(r"\W+", "_", str(name)).strip("_") for name in names] if isinstance(names, list) else []

    def read(self, video: str) -> tuple[np.ndarray, np.ndarray]:
        """(n, F) features and (n, 2) seconds. Raises Unusable."""
        group = self.data[video]
        if not isinstance(group, Mapping):
            raise Unusable(f"{self.path}: {video}: is no group of features and intervals")
        for key in ("features", "intervals"):
            if key not in group:
                raise Unusable(f"{self.path}: {video}: {unknown('array', key, group)}")
        try:
            with one_file(video):
                features, times = read_dataset(group["features"]), read_dataset(group["intervals"])
        except Unusable as error:
            raise Unusable(f"{self.path}: {error}") from error
        if features.ndim != 2 or times.shape != (len(features), 2) or features.dtype.kind not in "fiu":
            raise Unusable(
                f"{self.path}: {video}: features {features.shape} {features.dtype} and intervals {times.shape}; "
                "expected (n, F) numbers and (n, 2)"
            )
        if (times[:, 0] > times[:, 1]).any():
            raise Unusable(f"{self.path}: {video}: an interval ends before it begins")
        return features, times


def _stream(sequence: _Sequence, video: str) -> tuple[np.ndarray, np.ndarray] | Unusable:
    """A sequence's features of a video, or why they cannot be used: then only this stream is lost."""
    if video not in sequence.data:
        return Unusable("does not have the video")
    try:
        return sequence.read(video)
    except Unusable as error:
        return error


def _between(
    name: str, stream: tuple[np.ndarray, np.ndarray] | Unusable, start: float, end: float
) -> np.ndarray | Unusable:
    if isinstance(stream, Unusable):
        return stream
    middle = stream[1].mean(1)
    rows = stream[0][(middle >= start) & (middle < end)]
    if not len(rows):
        return Unusable(f"has nothing from {start:.2f} to {end:.2f} s")
    return usable("audio" if "audio" in name.lower() or "covarep" in name.lower() else name, rows)


def _labels(columns: list[str], values: list[float]) -> dict[str, str]:
    more = columns[1:] if len(columns) == len(values) else [f"label_{i}" for i in range(1, len(values))]
    return targets(values[0]) | {name: f"{value:.6g}" for name, value in zip(more, values[1:], strict=True)}
