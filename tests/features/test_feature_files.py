"""How clips become files: small ones together, large ones alone; what a kill between any two steps leaves."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from sparsefuse.data.arrays import read_array
from sparsefuse.features import _shards
from sparsefuse.features._shards import Shards, Wanted
from sparsefuse.files.shard import save

ROWS = {"a": 3, "b": 300, "c": 200, "d": 1, "e": 250, "f": 400}  # of 4 bytes


class Killed(BaseException):
    """Ends a run as a signal would, but for what is on disk."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shards, "ALONE", 800)


def run(folder: Path, shards: Sequence[Sequence[Wanted]], made: list[str] | None = None) -> list[str]:
    """Makes what is missing and packs it; gives the names of what was made, in `made` even when it is killed."""
    names = {clip.name: number for number, wanted in enumerate(shards) for clip in wanted}
    files, made = Shards(folder, names), [] if made is None else made
    try:
        for number, wanted in enumerate(shards):
            for clip in files.begin(number, wanted):
                save(files.part(clip), {clip.name: values(clip)})
                made.append(clip.name)
            files.end(number, wanted)
        files.finish(len(shards))
        for number, wanted in enumerate(shards):
            for clip in wanted:
                found = read_array(f"{files.place(number, clip.name)}#{clip.name}", folder)
                np.testing.assert_array_equal(found, values(clip))
    finally:
        files.close()
    return made


def values(clip: Wanted) -> np.ndarray:
    """What is made of a clip: of "v2" other numbers, and half as many."""
    count = ROWS[clip.name] // (2 if clip.made_from == "v2" else 1)
    return np.full((max(1, count), 1), ord(clip.name) + len(clip.made_from), np.float32)


def wanted(names: str, made_from: str = "v") -> list[Wanted]:
    return [Wanted(name, made_from) for name in names]


def contents(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*.safetensors") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_clip_is_a_file_of_its_own_from_a_size_on(tmp_path: Path) -> None:
    run(tmp_path, [wanted("abc"), wanted("de")])
    assert sorted(contents(tmp_path)) == [
        "00000.safetensors", "00000/b.safetensors", "00000/c.safetensors", "00001.safetensors", "00001/e.safetensors",
    ]  # fmt: skip
    assert b'"a"' in contents(tmp_path)["00000.safetensors"]
    assert b'"c"' not in contents(tmp_path)["00000.safetensors"]


def test_what_is_there_is_kept_moved_and_removed(tmp_path: Path) -> None:
    grown = tmp_path / "grown"
    assert run(grown, [wanted("abcde")]) == list("abcde")
    written = (grown / "00000/b.safetensors").stat().st_mtime_ns
    for number, shards in enumerate(
        [
            [wanted("abc"), wanted("de")],
            [wanted("de"), wanted("cba")],
            [wanted("e"), wanted("b")],
            [wanted("eb")],
        ]
    ):
        assert run(grown, shards) == []
        fresh = tmp_path / str(number)
        run(fresh, shards)
        assert contents(grown) == contents(fresh)
    assert (grown / "00000/b.safetensors").stat().st_mtime_ns == written  # it was renamed, never written again


def test_a_changed_clip_changes_its_place_with_its_size(tmp_path: Path) -> None:
    run(tmp_path, [wanted("abe")])
    assert run(tmp_path, [[*wanted("a"), *wanted("be", "v2")]]) == ["b", "e"]
    assert sorted(contents(tmp_path)) == ["00000.safetensors"]
    assert run(tmp_path, [wanted("abe")]) == ["b", "e"]
    assert sorted(contents(tmp_path)) == ["00000.safetensors", "00000/b.safetensors", "00000/e.safetensors"]


def test_a_source_without_a_version_is_made_every_time(tmp_path: Path) -> None:
    assert run(tmp_path, [wanted("ab", "")]) == ["a", "b"]
    before = (tmp_path / "00000.safetensors").stat().st_mtime_ns
    assert run(tmp_path, [wanted("ab", "")]) == ["a", "b"]
    assert (tmp_path / "00000.safetensors").stat().st_mtime_ns != before


@pytest.mark.parametrize("torn", ["00000.safetensors", "00000/b.safetensors"])
def test_a_file_that_someone_touched_is_made_again(tmp_path: Path, torn: str) -> None:
    run(tmp_path, [wanted("abc")])
    whole = contents(tmp_path)
    (tmp_path / torn).write_bytes(b"torn")
    assert run(tmp_path, [wanted("abc")]) == (["a"] if torn == "00000.safetensors" else ["b"])
    assert contents(tmp_path) == whole


def test_a_kill_between_any_two_steps_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [wanted("abc"), wanted("d"), wanted("f", "v2")]
    after = [[*wanted("d"), *wanted("be", "v2")], wanted("ca"), wanted("f")]
    run(tmp_path / "fresh", after)
    whole = contents(tmp_path / "fresh")
    real = {name: getattr(os, name) for name in ("replace", "unlink")}
    for step in range(100):
        folder, left = tmp_path / str(step), [step]
        run(folder, before)

        def counted(name: str, left: list[int] = left) -> None:
            def act(*args: object, **options: object) -> None:
                for late in (False, True):  # a kill before it, or after
                    left[0] -= 1
                    if left[0] < 0:
                        raise Killed
                    if not late:
                        real[name](*args, **options)

            monkeypatch.setattr(os, name, act)

        counted("replace")
        counted("unlink")
        made: list[str] = []
        ended = False
        with suppress(Killed):
            run(folder, after, made)
            ended = True
        monkeypatch.setattr(os, "replace", real["replace"])
        monkeypatch.setattr(os, "unlink", real["unlink"])
        again = run(folder, after)
        assert contents(folder) == whole, step
        assert sorted([*made, *again]) == ["b", "e", "f"], step  # each once; a, c and d were made before
        if ended:
            break
    assert step > 10


@pytest.mark.parametrize("size", [0, 7, 90])
def test_a_part_that_a_loss_of_power_cut_is_made_again(tmp_path: Path, size: int) -> None:
    files, clip = Shards(tmp_path / "x", {"a": 0}), Wanted("a", "made")
    save(files.part(clip), {"a": np.ones((3, 2), np.float32)})
    assert files.begin(0, [clip]) == []
    os.truncate(files.part(clip), size)
    assert files.begin(0, [clip]) == [clip]
