"""Recordings cut into windows: what is where, and for how long."""

import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.predictor import Prediction, Predictor
from sparsefuse.inference.timeline import spans, timeline
from sparsefuse.media.seconds import seconds

pytest.importorskip("av")
RATE = 8000


class Loudness(Predictor):
    """Says `loud` where the mean log-mel is above that of near silence; sure by how far."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(modalities=("sound", "wind"), features={"sound": 8, "wind": 8})  # type: ignore
        self.extract = {"sound": {"extractor": "spectrogram", "source": "audio", "rate": RATE, "bins": 8}}
        self.lengths: list[int] = []

    def predict_one(self, clip) -> Prediction:
        self.lengths.append(len(clip["sound"]))
        loud = float(clip["sound"].mean()) > -11
        share = 0.9 if loud else 0.6
        return Prediction("loud" if loud else "quiet", {"loud": share if loud else 1 - share,
                                                        "quiet": 1 - share if loud else share}, {})  # fmt: skip


def write_wav(path: Path, sound: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, len(sound), "NONE", ""))
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six silent seconds, then four of noise."""
    sound = np.zeros(10 * RATE)
    sound[6 * RATE :] = np.random.default_rng(0).uniform(-1, 1, 4 * RATE)
    return write_wav(tmp_path_factory.mktemp("recording") / "a.wav", sound)


def test_a_recording_is_told_window_by_window_and_merged(recording: Path) -> None:
    predictor = Loudness()
    found = timeline(predictor, recording, window=2, hop=1)
    assert found.seconds == pytest.approx(10)
    assert [(m.start, m.end) for m in found.moments] == [(i, i + 2) for i in range(9)]
    assert predictor.lengths == [200] * 9
    # the window from 5 to 7 is half noise, and loud; its middle is 6, that of the window before is 5
    assert [m.prediction.label for m in found.moments] == ["quiet"] * 5 + ["loud"] * 4
    assert [tuple(segment) for segment in found.segments] == [
        (0, 5.5, "quiet", pytest.approx(0.6)),
        (5.5, pytest.approx(10), "loud", pytest.approx(0.9)),
    ]
    assert "wind" in found.missing
    written = found.to_json()
    assert written["segments"][1]["label"] == "loud"
    assert written["windows"][8]["end"] == pytest.approx(10)


@pytest.mark.parametrize(
    ("whole", "window", "hop", "expected"),
    [
        (3.0, 10.0, 5.0, [(0, 3)]),
        (10.0, 10.0, 5.0, [(0, 10)]),
        (12.0, 10.0, 5.0, [(0, 10), (2, 12)]),
        (21.0, 10.0, 5.0, [(0, 10), (5, 15), (10, 20), (11, 21)]),
        (4.0, 1.0, 1.0, [(0, 1), (1, 2), (2, 3), (3, 4)]),
    ],
)
def test_windows_cover_all_and_the_last_ends_with_the_recording(whole, window, hop, expected) -> None:
    assert [tuple(map(pytest.approx, span)) for span in expected] == list(spans(whole, window, hop))


def test_lengths_come_from_the_header(recording: Path, tmp_path: Path) -> None:
    assert seconds(recording, "audio") == pytest.approx(10)
    with pytest.raises(Unusable, match="has no video"):
        seconds(recording, "video")
    (tmp_path / "b.wav").write_bytes(b"none")
    with pytest.raises(Unusable, match="cannot be opened"):
        seconds(tmp_path / "b.wav", "audio")


def test_a_recording_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(b"none")
    with pytest.raises(Unusable, match=r"sound: .*b\.wav"):
        timeline(Loudness(), tmp_path / "b.wav", window=2, hop=1)


def test_a_window_without_a_prediction_is_an_error_with_its_time(recording: Path, monkeypatch) -> None:
    def fails(self: Predictor, clip) -> Prediction:
        raise Unusable("the model's output is nan")

    monkeypatch.setattr(Loudness, "predict_one", fails)
    with pytest.raises(Unusable, match=r"^0 - 2 s: the model's output is nan$"):
        timeline(Loudness(), recording, window=2, hop=1)


def test_the_last_window_is_as_long_as_the_others(recording: Path) -> None:
    predictor = Loudness()
    timeline(predictor, recording, window=3, hop=2)  # 0, 2, 4, 6, and 7 in place of 8
    assert predictor.lengths == [300] * 5
