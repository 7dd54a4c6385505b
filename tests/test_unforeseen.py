"""An error that nobody foresaw, whatever its type, costs the file that is read and no more; its traceback is kept."""

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from sparsefuse.config import Data
from sparsefuse.data import arrays
from sparsefuse.data.check import check
from sparsefuse.features.extract import extract
from sparsefuse.files.rows import read_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.predictor import load
from sparsefuse.media import write_clip
from sparsefuse.training.train import train

media_read, media_probe = (importlib.import_module(f"sparsefuse.media.{name}") for name in ("read", "probe"))


class Panic(BaseException):
    """As Rust's, which is no Exception."""


ERRORS = [ZeroDivisionError, AttributeError, AssertionError, BufferError, Panic]


def fail(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, kind: type[BaseException], files: str) -> None:
    """Lets a function of a reader fail for a path with `files` in its name."""
    real = getattr(place, name)

    def failing(*given: Any, **options: Any) -> Any:
        if any(files in str(value) for value in [*given, *options.values()]):
            raise kind("odd")
        return real(*given, **options)

    monkeypatch.setattr(place, name, failing)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "good.mkv"
    pixels = np.random.default_rng(0).integers(0, 255, (10, 16, 16, 3), np.uint8)
    write_clip(path, pixels, fps=10, sound=np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32))
    return path


def films(folder: Path, film: Path, names: list[str]) -> Path:
    for name in names:
        shutil.copy(film, folder / f"{name}.mkv")
    (folder / "m.csv").write_text("id,video,label\n" + "".join(f"{n},{n}.mkv,{i % 2}\n" for i, n in enumerate(names)))
    return folder / "m.csv"


FEATURES = {"picture": {"extractor": "frames", "source": "video", "size": [4, 4]}}


@pytest.mark.parametrize("kind", ERRORS)
def test_in_extraction_it_costs_the_file(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    manifest = films(tmp_path, film, ["odd0", "odd1", "good0", "good1"])
    fail(monkeypatch, media_read, "first_stream", kind, "odd")
    out = tmp_path / "out"
    extract(manifest, out, features=FEATURES, jobs=1, progress=False)
    assert [row["id"] for row in read_table(out / "manifest.csv").rows] == ["good0", "good1"]
    reasons = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert [entry["id"] for entry in reasons] == ["odd0", "odd1"]
    assert f"{tmp_path / 'odd0.mkv'}: cannot be read (odd; {kind.__name__} in" in reasons[0]["reason"]
    assert reasons[0].keys() == {"id", "modality", "reason"}
    log = (out / "errors.log").read_text()
    assert log.count("Traceback (most recent call last)") == 1, "each kind once"
    assert log.startswith("odd0 : ")
    assert f"{kind.__name__}: odd" in log
    monkeypatch.undo()
    extract(manifest, out, features=FEATURES, jobs=1, progress=False)
    assert not (out / "errors.log").exists()


def test_in_extraction_the_same_one_in_every_file_ends_the_work(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = films(tmp_path, film, ["odd"])
    manifest.write_text("id,video\n" + "".join(f"{i},odd.mkv\n" for i in range(150)))
    fail(monkeypatch, media_read, "first_stream", ZeroDivisionError, "odd")
    with pytest.raises(Unusable, match=r"from none of 100 clips, which all failed in the same way, see .*errors\.log"):
        extract(manifest, tmp_path / "out", features=FEATURES, jobs=1, progress=False)
    assert "ZeroDivisionError: odd" in (tmp_path / "out" / "errors.log").read_text()
    assert len((tmp_path / "out" / "skipped.jsonl").read_text().splitlines()) == 100


@pytest.mark.parametrize("kind", ERRORS)
def test_in_check_it_costs_the_file(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    manifest = films(tmp_path, film, ["odd", "good0", "good1"])
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    np.save(tmp_path / "odd.npy", np.ones((3, 2)))
    rows = read_table(manifest).rows
    files = ["a.npy", "odd.npy", "a.npy"]
    lines = [f"{row['id']},{row['video']},{file},{row['label']}\n" for row, file in zip(rows, files, strict=True)]
    manifest.write_text("id,video,other,label\n" + "".join(lines))
    fail(monkeypatch, media_probe, "_picture", kind, "odd")
    fail(monkeypatch, arrays, "_read_npy", kind, "odd")
    monkeypatch.setitem(arrays._READERS, ".npy", arrays._read_npy)
    unreadable = [p.message for p in check(Data(manifest="m.csv"), tmp_path, jobs=1).problems if p.kind == "unreadable"]
    assert len(unreadable) == 2
    assert all(f"cannot be read (odd; {kind.__name__} in" in message for message in unreadable)


@pytest.mark.parametrize("kind", ERRORS)
def test_in_training_and_prediction_it_costs_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    manifest = tiny.write_set(tmp_path, (12, 4, 4))
    fail(monkeypatch, arrays, "_read_npy", kind, "train0-rgb")
    monkeypatch.setitem(arrays._READERS, ".npy", arrays._read_npy)
    run = tmp_path / "run"
    train(tiny.config(manifest, epochs=1), run, root=Path(), measured=False)
    (entry,) = [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]
    assert (entry["id"], entry["modality"]) == ("train0", "rgb")
    assert f"{kind.__name__}: odd" in (run / "errors.log").read_text()
    features = tmp_path / "features"
    clip = {name: features / f"train0-{name}.npy" for name in tiny.FEATURES}
    assert kind.__name__ in load(run).predict([clip])[0].missing["rgb"]


def test_a_stream_of_a_codec_that_nobody_knows_is_named(tmp_path: Path, film: Path) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(film.read_bytes().replace(b"avc1\0", b"xyz1\0"))
    with pytest.raises(Unusable, match="its video stream is of a codec that is not known"):
        media_read.read_frames(path)
    with pytest.raises(Unusable, match="its video stream is of a codec that is not known"):
        media_probe.probe(path)


def test_a_library_that_is_missing_is_no_fault_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    fail(monkeypatch, arrays, "_read_npy", ImportError, "a.npy")
    monkeypatch.setitem(arrays._READERS, ".npy", arrays._read_npy)
    with pytest.raises(ImportError):
        arrays.read_array("a.npy", tmp_path)
