"""Parts of films, files behind URLs, limits and time-outs of an extraction."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsefuse.data.arrays import load, read_array
from sparsefuse.features import extractor
from sparsefuse.features.extract import extract
from sparsefuse.files.rows import read_table
from sparsefuse.media import write_clip

PICTURE = {"extractor": "frames", "source": "video", "size": [4, 8], "dtype": "uint8"}
SOUND = {"extractor": "spectrogram", "source": "video", "bins": 16}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of 4 s, which get brighter by 5 a frame."""
    folder = tmp_path_factory.mktemp("films")
    grey = np.arange(0, 200, 5, dtype=np.uint8)[:, None, None, None]
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 64000).astype(np.float32)
    for name in ("a.mp4", "b.mp4"):
        write_clip(folder / name, np.broadcast_to(grey, (40, 32, 64, 3)).copy(), fps=10, sound=noise)
    return folder


def run(folder: Path, out: Path, lines: list[str], features: dict[str, Any], **options: Any) -> Any:
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return extract(folder / "m.csv", out, features=features, **({"jobs": 1, "progress": False} | options))


def counts(summary: Any) -> tuple[int, int, int]:
    return summary.done, summary.reused, len(summary.skipped)


def stored(out: Path, column: str) -> list[np.ndarray]:
    return [load(row[column], out) for row in read_table(out / "manifest.csv").rows]


def test_rows_may_name_parts_of_one_film(films: Path, tmp_path: Path) -> None:
    lines = ["id,video,start,end", "whole,a.mp4,,", "begin,a.mp4,,1.5", "middle,a.mp4,1,2.5", "end,a.mp4,3.9,"]
    summary = run(films, tmp_path, lines, {"picture": PICTURE, "sound": SOUND})
    assert counts(summary) == (8, 0, 0)
    pictures, sounds = stored(tmp_path, "picture"), stored(tmp_path, "sound")
    assert [len(found) for found in pictures] == [40, 15, 15, 1]
    np.testing.assert_array_equal(pictures[1], pictures[0][:15])
    np.testing.assert_array_equal(pictures[2], pictures[0][10:25])
    np.testing.assert_array_equal(pictures[3], pictures[0][39:])
    assert [len(found) for found in sounds[1:3]] == [150, 150]
    again = extractor("frames")(films / "a.mp4", size=(4, 8), start=1, end=2.5)
    np.testing.assert_allclose(again * 255, pictures[2], atol=1e-4)
    lines[2] = "begin,a.mp4,,1.4"
    assert counts(run(films, tmp_path, lines, {"picture": PICTURE, "sound": SOUND})) == (2, 6, 0)
    assert len(stored(tmp_path, "picture")[1]) == 14


def test_columns_that_look_like_parts_and_cut_nothing_are_named(films: Path, tmp_path: Path, caplog) -> None:
    """EPIC-Kitchens and others call them so; every row had the whole film, in silence."""
    run(films, tmp_path / "out", ["id,video,start_time,stop_time", "x,a.mp4,1,2"], {"picture": PICTURE})
    assert (
        "columns 'start_time', 'stop_time' do not cut clips out of files; columns `start` and `end`, in seconds, do"
        in caplog.text
    )


def test_a_part_after_the_end_is_skipped_with_its_reason(films: Path, tmp_path: Path) -> None:
    lines = ["id,video,start,end", "x,a.mp4,5,6", "y,a.mp4,3,9"]
    summary = run(films, tmp_path, lines, {"picture": PICTURE})
    assert [(skip.id, skip.reason) for skip in summary.skipped] == [
        ("x", f"{films / 'a.mp4'}: has no picture from 5 s on: it ends at 4.00 s")
    ]
    assert len(stored(tmp_path, "picture")[0]) == 10


WHOLE = "import numpy as np\nSOURCE = 'video'\ndef extract(path, *, scale: float = 1.0): return np.ones((2, 1), 'f')\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x,a.mp4,two,3", r"m\.csv, line 2: start is 'two', expected seconds"),
        ("x,a.mp4,-1,3", "line 2: start is '-1', expected seconds since the film's beginning, 0 or more"),
        ("x,a.mp4,3,2", "line 2: start is 3, end is 2; expected start < end"),
        ("x,a.mp4,1,2", "extractor of modality 'own', .*own.py', cannot read a part of a file; give it `whole: true`"),
    ],
)
def test_wrong_parts_stop_before_any_work(films: Path, tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "own.py").write_text(WHOLE)
    features = {"own": {"extractor": str(tmp_path / "own.py")}}
    with pytest.raises(ValueError, match=message):
        run(films, tmp_path / "out", ["id,video,start,end", line], features)
    assert not (tmp_path / "out").exists()
    if "own" in message:
        run(films, tmp_path / "out", ["id,video,start,end", line], {"own": features["own"] | {"whole": True}})
        assert stored(tmp_path / "out", "own")[0].shape == (2, 1)


PLACE = """
import numpy as np
SOURCE = "video"
def extract(path, *, start: float = 0.0, end: float | None = None):
    return np.full((2, 3), start, np.float32)
"""


def test_adding_rows_makes_those_and_no_other(films: Path, tmp_path: Path) -> None:
    (tmp_path / "place.py").write_text(PLACE)
    features = {"picture": {"extractor": str(tmp_path / "place.py")}}
    rows = [f"c{number},{'ab'[number % 2]}.mp4,{number / 100},{number / 100 + 0.2}" for number in range(130)]

    def made(out: str, rows: list[str]) -> tuple[int, int, int]:
        return counts(run(films, tmp_path / out, ["id,video,start,end", *rows], features))

    assert made("grown", rows) == (130, 0, 0)
    assert sorted(path.name for path in (tmp_path / "grown/picture").iterdir()) == [
        ".made.jsonl", "00000.safetensors", "00001.safetensors", "00002.safetensors",
    ]  # fmt: skip
    stamps = [(tmp_path / "grown/picture" / f"0000{n}.safetensors").stat().st_mtime_ns for n in range(2)]
    assert made("grown", [*rows, "last,a.mp4,1,2"]) == (1, 130, 0)
    assert stamps == [(tmp_path / "grown/picture" / f"0000{n}.safetensors").stat().st_mtime_ns for n in range(2)]
    grown = ["first,a.mp4,0,1", *rows[:50], *rows[51:], "last,a.mp4,1,2"]
    assert made("grown", grown) == (1, 130, 0)
    assert made("fresh", grown) == (131, 0, 0)
    assert made("grown", grown[100:]) == (0, 31, 0)
    assert made("grown", grown) == (100, 31, 0)
    for path in (tmp_path / "fresh/picture").glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "grown/picture" / path.name).read_bytes(), path.name
    assert len(list((tmp_path / "grown/picture").glob("*.safetensors"))) == 3


def test_types_are_stored_as_they_are_and_read_as_float32(films: Path, tmp_path: Path) -> None:
    kinds = {name: PICTURE | {"dtype": name} for name in ("float32", "float16", "uint8")}
    run(films, tmp_path, ["id,video", "x,a.mp4"], kinds)
    sizes = {name: (tmp_path / name / "00000.safetensors").stat().st_size for name in kinds}
    assert 3.5 < sizes["float32"] / sizes["uint8"] < 4
    read = {name: read_array(f"{name}/00000.safetensors#x", tmp_path) for name in kinds}
    assert {found.dtype for found in read.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(read["float32"] * 255, read["uint8"], atol=1e-4)
    np.testing.assert_allclose(read["float16"], read["float32"], atol=5e-4)


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ({"max_minutes": 0.05}, "lasts 4 s, more than 3, the limit; cut it in parts by columns start and end"),
        ({"max_gb": 1e-6}, "GB, more than 1e-06, the limit"),
        ({"max_frames_gb": 1e-6}, "its frames at this rate and size fill more than 1e-06 GB"),
    ],
)
def test_what_is_too_long_or_too_large_is_skipped(films: Path, tmp_path: Path, bounds: dict, reason: str) -> None:
    lines = ["id,video,start,end", "x,a.mp4,,"]
    with pytest.raises(ValueError, match="none of 1 samples") as caught:
        run(films, tmp_path, lines, {"picture": PICTURE}, **bounds)
    assert reason in str(caught.value)
    if "max_minutes" in bounds:
        lines[1] = "x,a.mp4,1,3.5"
        assert counts(run(films, tmp_path, lines, {"picture": PICTURE}, **bounds)) == (1, 0, 0)


def test_a_limit_below_zero_is_refused(films: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timeout is 0, expected a number above 0"):
        run(films, tmp_path, ["id,video", "x,a.mp4"], {"picture": PICTURE}, timeout=0)


HANG = """
import time, numpy as np
SOURCE = "video"
def extract(path, *, seconds: float = 60.0):
    time.sleep(seconds if path.name == "b.mp4" else 0)
    return np.ones((1, 1), np.float32)
"""


@pytest.mark.slow
def test_a_clip_that_takes_too_long_costs_itself(films: Path, tmp_path: Path) -> None:
    (tmp_path / "hang.py").write_text(HANG)
    features = {"own": {"extractor": str(tmp_path / "hang.py")}}
    lines = ["id,video", "x,a.mp4", "y,b.mp4", "z,a.mp4"]
    summary = run(films, tmp_path / "out", lines, features, jobs=2, timeout=1)
    assert [(skip.id, skip.reason) for skip in summary.skipped] == [
        ("y", f"{films / 'b.mp4'}: took longer than 1 s, the time-out")
    ]
    assert counts(summary) == (2, 0, 1)


def test_files_come_from_urls(films: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/films/a.mp4", (films / "a.mp4").read_bytes())
    lines = ["id,video,start,end", "x,memory://films/a.mp4,1,2", f"y,file://{films}/a.mp4,1,2",
             "z,memory://films/gone.mp4,,", "w,a.mp4,1,2"]  # fmt: skip
    summary = run(films, tmp_path, lines, {"picture": PICTURE})
    assert counts(summary) == (3, 0, 1)
    assert summary.skipped[0].reason.startswith("memory://films/gone.mp4: cannot be fetched (FileNotFoundError")
    found = stored(tmp_path, "picture")
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[2])
    assert counts(run(films, tmp_path, lines, {"picture": PICTURE})) == (0, 3, 1)
    memory.pipe("/films/a.mp4", (films / "b.mp4").read_bytes() + b"1")
    assert counts(run(films, tmp_path, lines, {"picture": PICTURE})) == (1, 2, 1)
    assert not list(tmp_path.glob(".fetched"))
    with pytest.raises(ValueError, match="is larger than 1e-06 GB, the limit"):
        run(films, tmp_path / "2", [lines[0], lines[1]], {"picture": PICTURE}, max_gb=1e-6)
    with pytest.raises(ValueError, match="unknown protocol 'htp'"):
        run(films, tmp_path / "3", [lines[0], "x,htp://x/a.mp4,,"], {"picture": PICTURE})


BROKEN = "SOURCE = 'video'\ndef extract(path):\n    return {'a': 1}['b']\n"


def test_an_extractor_that_never_works_stops_the_run(films: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(BROKEN)
    features = {"own": {"extractor": str(tmp_path / "own.py")}, "picture": PICTURE}
    lines = ["id,video", *(f"x{number},a.mp4" for number in range(12))]
    with pytest.raises(ValueError, match=r"(?s)could be extracted from none of 10 clips.*KeyError in own\.py, line 3"):
        run(films, tmp_path / "out", lines, features)
    assert 'own.py", line 3' in (tmp_path / "out" / "errors.log").read_text()


def test_one_pass_serves_all_modalities_of_a_film(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    opened = []
    original = av.open
    monkeypatch.setattr(
        av, "open", lambda name, *args, **options: opened.append(name) or original(name, *args, **options)
    )
    features = {"small": PICTURE, "large": PICTURE | {"size": [8, 16]}, "sound": SOUND, "other": SOUND | {"bins": 20}}
    run(films, tmp_path, ["id,video", "x,a.mp4", "y,b.mp4"], features)
    assert opened == [f"file:{films / 'a.mp4'}", f"file:{films / 'b.mp4'}"]
    np.testing.assert_array_equal(
        stored(tmp_path, "large")[0], extractor("frames")(films / "a.mp4", size=(8, 16), dtype="uint8")
    )
