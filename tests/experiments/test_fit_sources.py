"""Files that a run's features were made of: with others it is not continued, and nothing of it is replaced."""

import os
from pathlib import Path

import numpy as np
import pytest

import sparsefuse
import tiny
from sparsefuse import Classifier
from sparsefuse.experiments.sources import check_sources, note_sources
from sparsefuse.files.rows import read_table, write_table
from sparsefuse.files.whole import write_json
from sparsefuse.runs.folder import RunFolder

SERIES = {"imu": {"extractor": "series", "source": "walk", "time": "t"}}


def write_walks(folder: Path, count: int = 8) -> Path:
    """A manifest of readings of a sensor, ten of each clip."""
    random, rows = np.random.default_rng(0), []
    (folder / "walks").mkdir(parents=True)
    for i in range(count):
        lines = [f"{t},{x:.3f},{y:.3f}" for t, (x, y) in enumerate(random.normal(i % 2 * 4, 1, (10, 2)))]
        (folder / f"walks/{i}.csv").write_text("\n".join(["t,x,y", *lines]) + "\n")
        rows.append({"id": f"w{i}", "walk": f"walks/{i}.csv", "note": f"the walk {i}", "label": "ab"[i % 2]})
    return write_table(folder / "clips.csv", rows)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def change(file: Path) -> None:
    """Another digit in the last reading."""
    text = file.read_text()
    file.write_text(text[:-2] + ("1" if text[-2] == "0" else "0") + "\n")


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    """A manifest whose sources are noted in `made`."""
    manifest = write_walks(tmp_path)
    write_json(tmp_path / "made" / "features.json", {"features": SERIES})
    note_sources(manifest, tmp_path / "made")
    return manifest


def check(manifest: Path) -> None:
    check_sources(RunFolder(Path("run")), manifest, read_table(manifest), manifest.parent / "made")


def test_a_file_that_was_written_anew_as_it_was_is_the_same(noted: Path) -> None:
    check(noted)
    os.utime(noted.parent / "walks/3.csv", ns=(1, 1))
    (noted.parent / "walks/4.csv").rename(noted.parent / "walks/4b.csv")
    tiny.edit(noted, w4={"walk": "walks/4b.csv"}, w5={"note": "what is not read"})
    check(noted)


@pytest.mark.parametrize("how", ["digit", "longer", "gone", "swapped"])
def test_a_file_that_holds_something_else_is_named(noted: Path, how: str) -> None:
    file, cell = noted.parent / "walks/3.csv", "walks/3.csv"
    if how == "digit":
        change(file)
    elif how == "longer":
        file.write_text(file.read_text() + "10,1,1\n")
    elif how == "gone":
        file.unlink()
    else:
        cell = "walks/5.csv"
        tiny.edit(noted, w3={"walk": cell})
    with pytest.raises(
        ValueError, match=rf"run was started with other contents .* 1 clip changed .* w3 \({cell}\); rest"
    ):
        check(noted)


def test_clips_that_came_or_went_are_named(noted: Path) -> None:
    rows = read_table(noted).rows
    write_table(noted, rows[1:])
    with pytest.raises(ValueError, match="run was started with other clips: 1 gone, such as w0; restore"):
        check(noted)
    write_table(noted, [*rows, {**rows[0], "id": "w9"}])
    with pytest.raises(ValueError, match="run was started with other clips: 1 new, such as w9; restore"):
        check(noted)


def test_words_and_times_are_contents_too(tmp_path: Path) -> None:
    rows = [{"id": f"c{i}", "text": f"some words {i}", "start": str(i)} for i in range(3)]
    manifest = write_table(tmp_path / "clips.csv", rows)
    write_json(tmp_path / "made" / "features.json", {"features": {"text": {"extractor": "words", "source": "text"}}})
    note_sources(manifest, tmp_path / "made")
    check(manifest)
    for other in ({"text": "other words"}, {"start": "7"}):
        write_table(manifest, [rows[0], {**rows[1], **other}, rows[2]])
        with pytest.raises(ValueError, match=rf"1 clip changed since, such as c1 \({next(iter(other.values()))}\)"):
            check(manifest)


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_fit_refuses_other_contents_before_it_replaces_any(tmp_path: Path) -> None:
    manifest, out = write_walks(tmp_path), tmp_path / "run"
    sparsefuse.fit(manifest, features=SERIES, method="late", epochs=1, out=out, jobs=1)
    change(tmp_path / "walks/3.csv")
    before = files(out)
    with pytest.raises(ValueError, match=r"run was started with other contents of these clips: 1 clip changed since"):
        sparsefuse.fit(manifest, features=SERIES, method="late", epochs=1, out=out, jobs=1)
    assert files(out) == before


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_fit_of_features_refuses_other_contents_before_it_replaces_any(tmp_path: Path) -> None:
    manifest, out = tiny.write_set(tmp_path / "data"), tmp_path / "run"
    sparsefuse.fit(manifest, method="late", epochs=1, out=out, jobs=1)
    tiny.write_set(tmp_path / "data", seed=1)
    before = files(out)
    with pytest.raises(ValueError, match=r"run was started with other contents of these clips: .* restore them"):
        sparsefuse.fit(manifest, method="late", epochs=1, out=out, jobs=1)
    assert files(out) == before


def test_a_classifier_refuses_other_contents_before_it_replaces_any(tmp_path: Path) -> None:
    manifest, out = write_walks(tmp_path), tmp_path / "run"

    def fit() -> None:
        Classifier("late", epochs=1, device="cpu", features=SERIES).fit(manifest, label="label", out=out)

    fit()
    fit()
    change(tmp_path / "walks/3.csv")
    before = files(out)
    with pytest.raises(ValueError, match=r"run was started with other contents of these clips: 1 clip changed since"):
        fit()
    assert files(out) == before
