"""Files are read once, and not again while they stay as they are; what is remembered changes no result."""

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from sparsefuse.config import Data
from sparsefuse.data import checked, dataset, reading
from sparsefuse.data.clips import Clips, load_clips
from sparsefuse.data.lengths import WHOLE
from sparsefuse.data.prepare import Cell
from sparsefuse.data.stats import measure
from sparsefuse.files.skipped import Skip

MEMO = ".manifest.csv.checked.json"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is read; it counts as settled at once."""
    monkeypatch.setattr(checked, "SETTLED", 0)
    counts: Counter[str] = Counter()
    for module in (reading, dataset):

        def counted(ref: str, root: Path, read_array=module.read_array) -> np.ndarray:
            counts[ref] += 1
            return read_array(ref, root)

        monkeypatch.setattr(module, "read_array", counted)
    return counts


def load(manifest: Path, **data: object) -> Clips:
    return load_clips(dataclasses.replace(Data(manifest=str(manifest)), **data), Path())


def same(one: Clips, other: Clips) -> bool:
    def plain(found: Clips) -> dict:
        kept = found._replace(splits={name: data.rows for name, data in found.splits.items()}, stats=None)
        return kept._asdict()

    assert one.stats
    assert other.stats
    stats = [found.stats.to_tensors() for found in (one, other) if found.stats]
    return plain(one) == plain(other) and all(stats[1][name].equal(x) for name, x in stats[0].items())


def test_every_file_is_read_once_and_then_no_more(tmp_path: Path, read: Counter[str]) -> None:
    manifest = tiny.write_set(tmp_path)
    first = load(manifest)
    assert set(read.values()) == {1}
    assert len(read) == 2 * 17 - 3
    read.clear()
    assert same(load(manifest), first)
    assert not read


@pytest.mark.parametrize("forgets", [True, False])
def test_the_statistics_are_those_of_the_training_samples(tmp_path: Path, read: Counter[str], forgets: bool) -> None:
    """Measured as files are read, remembered, and by reading samples: the same bits."""
    manifest = tiny.write_set(tmp_path)
    for rule in ({}, {"max_length": 3}, {"resample": {"sound": 4}}, {}):
        if forgets:
            (tmp_path / MEMO).unlink(missing_ok=True)
        found = load(manifest, **rule)
        data = found.splits["train"]
        data.stats = None
        expected = measure(data[i] for i in range(len(data))).to_tensors()
        assert found.stats
        assert all(x.equal(expected[name]) for name, x in found.stats.to_tensors().items())


def test_a_file_that_changed_is_read_again(tmp_path: Path, read: Counter[str]) -> None:
    """To the same size and time of change, even."""
    manifest = tiny.write_set(tmp_path)
    before, file = load(manifest), tmp_path / "features/train0-rgb.npy"
    status = os.stat(file)
    values = np.load(file)
    values[0, 0] += 1
    np.save(file, values)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    read.clear()
    after = load(manifest)
    assert read["features/train0-rgb.npy"] == 2  # checked, and measured with all the others
    assert read["features/test0-rgb.npy"] == 0
    assert after.stats
    assert before.stats
    assert not after.stats.mean["rgb"].equal(before.stats.mean["rgb"])
    assert len(set(after.seen) - set(before.seen)) == 1
    (tmp_path / MEMO).unlink()
    assert same(load(manifest), after)


def test_a_file_that_just_changed_is_not_remembered(tmp_path: Path) -> None:
    """It could change again within a tick of the file system's clock."""
    load(tiny.write_set(tmp_path))
    assert not (tmp_path / MEMO).exists()


def test_another_split_has_its_own_statistics_and_reads_only_them(tmp_path: Path, read: Counter[str]) -> None:
    manifest = tiny.write_set(tmp_path)
    load(manifest)
    tiny.edit(manifest, valid2={"split": "train"})
    read.clear()
    found = load(manifest)
    assert sorted(read) == sorted(row.files[name] for row in found.splits["train"].rows for name in row.files)
    (tmp_path / MEMO).unlink()
    assert same(load(manifest), found)


def test_clips_without_a_usable_label_do_not_count(tmp_path: Path, read: Counter[str]) -> None:
    manifest = tiny.write_set(tmp_path)
    tiny.edit(manifest, train0={"label": ""})
    found = load(manifest)
    data = found.splits["train"]
    data.stats = None
    assert found.stats
    assert found.stats.mean["rgb"].equal(measure(data[i] for i in range(len(data))).mean["rgb"])
    assert same(load(manifest), found)


def test_leaks_are_found_in_files_that_are_not_read(tmp_path: Path, read: Counter[str]) -> None:
    manifest = tiny.write_set(tmp_path)
    for name in ("rgb", "sound"):
        file = tmp_path / f"features/test0-{name}.npy"
        file.write_bytes((tmp_path / f"features/train0-{name}.npy").read_bytes())
    found = [{problem.kind for problem in load(manifest).problems} for _ in range(2)]
    assert found == [{"leak-content"}] * 2
    assert set(read.values()) == {1}


def test_faulty_files_are_read_and_named_every_time(tmp_path: Path, read: Counter[str]) -> None:
    manifest = tiny.write_set(tmp_path)
    (tmp_path / "features/train0-rgb.npy").write_bytes(b"nothing")
    skips = [load(manifest).skips for _ in range(2)]
    assert skips[0] == skips[1]
    assert "train0-rgb.npy: cannot be read" in skips[0][0].reason


@pytest.mark.parametrize(
    "spoil",
    [
        lambda memo: {**memo, "version": 0},
        lambda memo: {
            **memo,
            "files": {
                file: [stamp, {ref: [0, 5, "x"] for ref in refs}] for file, (stamp, refs) in memo["files"].items()
            },
        },
        lambda memo: {**memo, "files": dict.fromkeys(memo["files"], 3)},
        lambda memo: {
            **memo,
            "stats": {
                key: {**stats, "std": {"rgb": [0.0] * 5, "sound": [1.0] * 4}} for key, stats in memo["stats"].items()
            },
        },
        lambda memo: {**memo, "stats": {key: {**stats, "mean": {}} for key, stats in memo["stats"].items()}},
        lambda memo: [memo],
    ],
)
def test_a_spoilt_memory_is_not_used(tmp_path: Path, read: Counter[str], spoil) -> None:
    manifest = tiny.write_set(tmp_path)
    first = load(manifest)
    (tmp_path / MEMO).write_text(json.dumps(spoil(json.loads((tmp_path / MEMO).read_text()))))
    read.clear()
    assert same(load(manifest), first)
    assert set(read.values()) == {1}
    assert json.loads((tmp_path / MEMO).read_text())["version"] == checked.VERSION


def test_a_folder_that_cannot_be_written_only_costs_time(
    tmp_path: Path, read: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(checked, "replacing", refuse)
    manifest = tiny.write_set(tmp_path)
    assert same(load(manifest), load(manifest))
    assert set(read.values()) == {2}


def test_threads_change_nothing(tmp_path: Path, read: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tiny.write_set(tmp_path)
    alone = load(manifest)
    (tmp_path / MEMO).unlink()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(reading, "LARGE", 0)
    assert same(load(manifest), alone)
    assert set(read.values()) == {2}


@pytest.mark.parametrize(("width", "readers"), [(reading.LARGE, 3), (reading.LARGE - 1, 1)])
def test_threads_read_large_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, readers: int) -> None:
    np.save(tmp_path / "a.npy", np.ones((1, width)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    asked = []

    def noted(read: Callable, cells: Sequence[Cell], threads: int) -> Iterator:
        asked.append(threads)
        return map(read, cells)

    monkeypatch.setattr(reading, "ahead", noted)
    known, cells = checked.Checked(tmp_path / "manifest.csv"), [Cell("train", "a", "a.npy")] * (reading.FEW + 2)
    assert len(list(reading.Reading(WHOLE, measured=True).shapes(known, cells, tmp_path))) == reading.FEW + 2
    assert asked == [readers]


def by_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(reading, "MANY", 1)


@pytest.mark.slow  # two processes import torch
def test_processes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tiny.write_set(tmp_path)
    np.save(tmp_path / "features" / "train3-rgb.npy", np.array([[np.nan]]))
    alone = load(manifest)
    by_processes(monkeypatch)
    assert same(load(manifest), alone)
    assert [(skip.id, skip.modality) for skip in alone.skips if "NaN" in skip.reason] == [("train3", "rgb")]


def test_a_file_of_which_a_process_dies_is_lost_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tiny.write_set(tmp_path)
    before = load(manifest).skips
    by_processes(monkeypatch)

    def deadly(read: Callable, cells: Sequence[Cell], jobs: int) -> Iterator:
        assert jobs == 2
        return (None if cell.ref.endswith("train3-rgb.npy") else read(cell) for cell in cells)

    monkeypatch.setattr(reading, "by_processes", deadly)
    (lost,) = [skip for skip in load(manifest).skips if skip not in before]
    assert lost == Skip("train3", "rgb", "features/train3-rgb.npy: the process that read it died")
