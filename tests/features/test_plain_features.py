"""The extractors restated in numpy, for programs without this library, give what the extractors give."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from films import write_film
from sparsefuse.features import build, extractor
from sparsefuse.media import Frames, read_frames

PLAIN = Path(__file__).parents[2] / "examples" / "plain_features.py"


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return runpy.run_path(str(PLAIN))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"difference": True, "energy": True},
        {"bins": 40, "context": 2, "every": 3},
        {"rate": 8000, "bins": 20, "window": 0.03, "hop": 0.02},
    ],
)
def test_a_spectrogram_is_the_same(plain: dict[str, Any], options: dict[str, Any]) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 4321).astype(np.float32)
    ours = build("spectrogram", options).features(sound)
    np.testing.assert_allclose(plain["spectrogram"](sound, **options), ours, atol=2e-4)


@pytest.mark.parametrize(
    "options", [{}, {"patch": 4, "difference": True}, {"energy": True, "centre": True}, {"dtype": "uint8", "patch": 2}]
)
def test_frames_are_the_same(plain: dict[str, Any], options: dict[str, Any]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 12, 3), dtype=np.uint8)
    ours = build("frames", {"size": [8, 12], "gray": False, **options}).features(Frames(pixels, np.arange(5.0)))
    np.testing.assert_allclose(plain["frames"](pixels, **options), ours, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "only"},
        {"norm": "add", "difference": True},
        {"window": 0.6, "hop": 0.2, "contents": ["values", "spectrum", "energy"]},
        {"window": 0.5, "norm": "add"},
        {"window": 9.0},  # longer than the file
    ],
)
def test_readings_are_the_same(plain: dict[str, Any], tmp_path: Path, options: dict[str, Any]) -> None:
    x = np.random.default_rng(0).normal(size=(100, 3))
    file = tmp_path / "a.csv"
    np.savetxt(file, x, delimiter=",", header="x,y,z", comments="")
    ours = extractor("series")(file, file_rate=50, rate=50, **options)
    np.testing.assert_allclose(plain["series"](x, rate=50, **options), ours, atol=1e-4)


def test_words_are_the_same(plain: dict[str, Any], tmp_path: Path) -> None:
    words = "Don\u2019t hum a_b 12, \u00dcber-Baum."
    (tmp_path / "a.txt").write_text(words, encoding="utf-8")
    np.testing.assert_allclose(
        plain["text"](words, hashed=100), extractor("text")(tmp_path / "a.txt", hashed=100), atol=1e-6
    )


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
def test_the_command_of_ffmpeg_writes_the_frames_that_come_in(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    write_film(film, 400, 0)
    command = ["ffmpeg", "-v", "error", "-i", str(film), "-vf", "scale=16:16:flags=area,format=gray", "-fps_mode"]
    raw = subprocess.run([*command, "passthrough", "-f", "rawvideo", "-"], check=True, capture_output=True).stdout
    theirs = np.frombuffer(raw, np.uint8).reshape(-1, 16, 16, 1)
    ours = read_frames(film, size=(16, 16), gray=True).pixels
    assert theirs.shape == ours.shape
    assert np.abs(theirs.astype(int) - ours).max() <= 2


def test_it_is_a_program_that_reads_the_card(tmp_path: Path) -> None:
    made = {"extractor": "text", "source": "words", "hashed": 64, "table": None}
    (tmp_path / "model.json").write_text(json.dumps({"inputs": [{"name": "said", "extract": made}]}))
    (tmp_path / "a.txt").write_text("two words", encoding="utf-8")
    command = [sys.executable, str(PLAIN), "model.json", "said", "a.txt", "said.npy"]
    subprocess.run(command, cwd=tmp_path, check=True)
    np.testing.assert_allclose(
        np.load(tmp_path / "said.npy"), extractor("text")(tmp_path / "a.txt", hashed=64), atol=1e-6
    )
