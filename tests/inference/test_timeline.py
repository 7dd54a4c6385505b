"""Recordings cut into windows: what is where, and for how long."""

import wave
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.predictor import Prediction, Predictor
from sparsefuse.inference.timeline import spans, timeline
from sparsefuse.media import write_clip
from sparsefuse.media.seconds import stamps

av = pytest.importorskip("av")
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


def test_lengths_come_from_packets(recording: Path, tmp_path: Path) -> None:
    assert stamps(recording, "audio").end == pytest.approx(10)
    with pytest.raises(Unusable, match="has no video"):
        stamps(recording, "video")
    (tmp_path / "b.wav").write_bytes(b"none")
    with pytest.raises(Unusable, match="cannot be decoded"):
        stamps(tmp_path / "b.wav", "audio")
    playlist = recording.with_name("list.wav")
    playlist.write_text(f"ffconcat version 1.0\nfile {recording.name}\n")
    with pytest.raises(Unusable, match="cannot be decoded"):  # it would name other files
        stamps(playlist, "audio")


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


def test_sound_that_begins_late_is_told_when_it_is_heard(tmp_path: Path) -> None:
    """Five seconds of picture; from 1 s on four of sound, of which the last two are noise: it is loud from 3 s on."""
    sound = np.zeros(4 * RATE, np.float32)
    sound[2 * RATE :] = np.random.default_rng(0).uniform(-1, 1, 2 * RATE)
    write_clip(tmp_path / "a.mp4", np.zeros((50, 16, 16, 3), np.uint8), fps=10, sound=sound, sound_rate=RATE)
    with av.open(str(tmp_path / "a.mp4")) as old, av.open(str(tmp_path / "b.mov"), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.pts is None or packet.dts is None:
                continue
            if packet.stream.type == "audio":
                later = round(1 / packet.time_base)
                packet.pts, packet.dts = packet.pts + later, packet.dts + later
            packet.stream = streams[packet.stream.index]
            new.mux(packet)
    found = timeline(Loudness(), tmp_path / "b.mov", window=1, hop=1)
    assert found.seconds == pytest.approx(5, abs=0.15)
    assert [moment.prediction.label for moment in found.moments][:5] == ["quiet"] * 3 + ["loud"] * 2


class Brightness(Predictor):
    """Of all frames of a film; notes how many a window has, and the mean."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(modalities=("rgb",), features={"rgb": 256})  # type: ignore
        self.extract = {"rgb": {"extractor": "frames", "source": "video", "size": [16, 16]}}
        self.windows: list[tuple[int, float]] = []

    def predict_one(self, clip) -> Prediction:
        self.windows.append((len(clip["rgb"]), round(float(clip["rgb"].mean()))))
        return Prediction("a", {"a": 1.0}, {})


def test_frames_of_no_steady_rate_are_cut_by_their_times(tmp_path: Path) -> None:
    """Ten dark frames in the first second, two white ones in the third."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        picture = container.add_stream("mpeg4", rate=10)
        picture.width, picture.height, picture.pix_fmt = 16, 16, "yuv420p"
        for at in [*range(10), 20, 25]:
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 255 * (at >= 20), np.uint8), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 10)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
    predictor = Brightness()
    found = timeline(predictor, tmp_path / "a.mkv", window=1, hop=1)
    assert predictor.windows[0] == (10, 0)
    assert predictor.windows[-1][1] == 1
    assert [round(moment.start, 1) for moment in found.moments] == [0.0, 1.6]
    assert found.missing == {"rgb": "nothing in 1 window, the first from 1 s on"}


class Corner(Predictor):
    """Of frames in six patches; notes the first pixel of each window's first patch, and its length."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(modalities=("rgb",), features={"rgb": 64})  # type: ignore
        self.extract = {"rgb": {"extractor": "frames", "source": "video", "size": [16, 24], "patch": 8}}
        self.windows: list[tuple[float, int]] = []

    def predict_one(self, clip) -> Prediction:
        self.windows.append((round(float(clip["rgb"][0].mean()), 2), len(clip["rgb"])))
        return Prediction("a", {"a": 1.0}, {})


def test_windows_of_patches_begin_with_the_first_of_a_frame(tmp_path: Path) -> None:
    """Seven frames a second: 3.5 frames are 21 patches, half of a frame more than 3 frames. The left upper patch is
    white, all others are black."""
    pixels = np.zeros((14, 16, 24, 3), np.uint8)
    pixels[:, :8, :8] = 255
    write_clip(tmp_path / "a.mp4", pixels, fps=7)
    predictor = Corner()
    timeline(predictor, tmp_path / "a.mp4", window=1, hop=0.5)
    assert [white > 0.9 for white, _ in predictor.windows] == [True] * 3
    assert [length % 6 for _, length in predictor.windows] == [0] * 3


def test_windows_of_an_encoders_patches_begin_with_the_first_of_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the extractor says of itself counts, here by the pixels of its sibling."""
    pixels = np.zeros((14, 16, 24, 3), np.uint8)
    pixels[:, :8, :8] = 255
    write_clip(tmp_path / "a.mp4", pixels, fps=7)
    predictor = Corner()
    monkeypatch.setattr(predictor, "grid", lambda name: None)
    monkeypatch.setattr(predictor, "patches", lambda name: 6)
    timeline(predictor, tmp_path / "a.mp4", window=1, hop=0.5)
    assert [white > 0.9 for white, _ in predictor.windows] == [True] * 3


class Speed(Predictor):
    """Says `fast` where the mean reading is above 1."""

    def __init__(self, **options: object) -> None:
        self.model = SimpleNamespace(modalities=("wrist",), features={"wrist": 1})  # type: ignore
        self.extract = {"wrist": {"extractor": "series", "source": "wrist", "time": "t", **options}}
        self.clips: list[list[float]] = []

    def predict_one(self, clip) -> Prediction:
        self.clips.append(clip["wrist"][:, 0].tolist())
        fast = float(clip["wrist"].mean()) > 1
        return Prediction("fast" if fast else "slow", {"fast": float(fast), "slow": float(not fast)}, {})


def test_readings_are_cut_by_their_own_times(tmp_path: Path) -> None:
    """Four slow readings a second for 2 s, then one fast one a second for 4 s: not the border at 4 s."""
    rows = [f"{i / 4},0" for i in range(8)] + [f"{t},2" for t in range(2, 6)]
    (tmp_path / "a.csv").write_text("\n".join(["t,x", *rows]))
    predictor = Speed()
    found = timeline(predictor, tmp_path / "a.csv", window=1, hop=1)
    assert predictor.clips == [[0] * 4, [0] * 4, [2], [2], [2], [2]]
    assert [(part.start, part.end, part.label) for part in found.segments] == [
        (0, 2, "slow"),
        (2, found.seconds, "fast"),
    ]
    assert found.seconds == 5.25  # the last reading, and the median step
    resampled = Speed(rate=2)
    assert timeline(resampled, {"wrist": tmp_path / "a.csv"}, window=2, hop=2).seconds == 5.5
    assert resampled.clips == [[0] * 4, [2] * 4, [2] * 4]


def test_a_gap_in_readings_has_no_prediction_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,x\n0,0\n1,0\n2,0\n8,2\n9,2\n")
    found = timeline(Speed(), tmp_path / "a.csv", window=2, hop=2)
    assert [(moment.start, moment.end) for moment in found.moments] == [(0, 2), (2, 4), (8, 10)]
    assert found.missing == {"wrist": "nothing in 2 windows, the first from 4 s on"}


def test_a_stream_that_ends_before_another_is_named(tmp_path: Path) -> None:
    """Three seconds of sound beside readings of five: two windows have no sound."""
    path = write_wav(tmp_path / "a.wav", np.zeros(3 * RATE))
    (tmp_path / "a.csv").write_text("t,x\n" + "".join(f"{i / 2},0\n" for i in range(10)))
    predictor = Speed()
    predictor.model = SimpleNamespace(modalities=("sound", "wrist"), features={"sound": 8, "wrist": 1})  # type: ignore
    sound = {"extractor": "spectrogram", "source": "audio", "rate": RATE, "bins": 8}
    predictor.extract = {"sound": sound, **predictor.extract}
    found = timeline(predictor, {"audio": path, "wrist": tmp_path / "a.csv"}, window=1, hop=1)
    assert len(found.moments) == 5
    assert found.missing == {"sound": "nothing in 2 windows, the first from 3 s on"}


def test_readings_without_times_cannot_be_cut(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n0\n1\n")
    with pytest.raises(Unusable, match=r"a\.csv: its rows have no times; give `time` \(a column\) or `file_rate`"):
        timeline(Speed(time=None), tmp_path / "a.csv", window=1, hop=1)
