"""Parts of films: the right frames and the right samples, wherever a part begins."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_cases import paint, painted

from sparsefuse.files.skipped import Unusable
from sparsefuse.media import Frames, FramesRequest, SoundRequest, read, read_sound

RATE = 25
COUNT = 200  # frames, 8 s
SOUND_RATE = 44100
PLAIN = list(range(COUNT))
# 1 to 5 ticks apart, with a gap of a second
UNEVEN = [int(t) for t in np.cumsum(np.random.default_rng(0).integers(1, 6, COUNT)) + 25 * (np.arange(COUNT) > 120)]
SMALL_GROUPS = {"g": "12", "bf": "3"}
CASES: dict[str, dict[str, Any]] = {
    "even.mp4": {},
    "uneven.mp4": {"stamps": UNEVEN},
    "offset.mp4": {"offset": 40},
    "offset_uneven.mkv": {"stamps": UNEVEN, "offset": 40},
    "open_groups.mp4": {"options": {"x264-params": "open-gop=1:keyint=12:bframes=3:b-pyramid=normal"}},
    "one_group.mp4": {"options": {"g": "1000", "bf": "3"}},
    "refreshed.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}},
    "even.mkv": {},
    "even.ts": {"offset": 10},
    "even.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "mpeg1.mpg": {"codec": "mpeg1video", "options": {"g": "12", "bf": "2"}},
    "even.webm": {"codec": "libvpx-vp9", "options": {"g": "30", "deadline": "realtime", "cpu-used": "8"}},
}


def wave(samples: int) -> np.ndarray:
    """Noise under a rising tone: no two places sound alike."""
    time = np.arange(samples) / SOUND_RATE
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, samples)
    return (0.4 * np.sin(2 * np.pi * (200 + 100 * time) * time) + noise).astype(np.float32)


def write(
    path: Path,
    *,
    stamps: list[int] = PLAIN,
    offset: int = 0,
    codec: str = "libx264",
    options: dict[str, str] = SMALL_GROUPS,
    sound: bool = True,
) -> Path:
    """Numbered frames, shown at (stamps + offset) / RATE; sound from 0 on."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 32, "yuv420p"
        stream.codec_context.thread_count = 1
        name = {".webm": "libopus", ".mpg": "mp2", ".avi": "mp2"}.get(path.suffix, "aac")
        voice: Any = container.add_stream(name, rate=48000 if name == "libopus" else SOUND_RATE, layout="mono")
        voice.options = {"aac_pns": "0"} if name == "aac" else {}  # else the decoder makes up noise
        samples = wave(round((stamps[-1] + offset + 1) / RATE * SOUND_RATE))
        resampler = av.AudioResampler(format=voice.codec_context.format, rate=voice.rate, layout="mono")
        fifo = av.AudioFifo()
        pieces = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        pieces.sample_rate, pieces.pts, pieces.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
        for piece in [*resampler.resample(pieces), *resampler.resample(None)]:
            fifo.write(piece)
        said, size = 0, voice.codec_context.frame_size or 1024
        for stamp, pixels in zip(stamps, paint(range(len(stamps))), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp + offset, Fraction(1, RATE)
            container.mux(stream.encode(frame))
            while sound and said * RATE < (stamp + offset) * voice.rate and (piece := fifo.read(size)):
                said += piece.samples
                container.mux(voice.encode(piece))
        container.mux(stream.encode(None))
        while sound and (piece := fifo.read(size, partial=True)):
            container.mux(voice.encode(piece))
        container.mux(voice.encode(None))
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parts")
    return {name: write(folder / name, **how) for name, how in CASES.items()}


def on_screen(times: np.ndarray, start: float, end: float) -> list[int]:
    """One by one: what is shown at `start`, and all that begins before `end`."""
    found = []
    for number, time in enumerate(times):
        until = times[number + 1] if number + 1 < len(times) else time + 1 / RATE
        if until > start + 0.001 and time < end - 0.001:
            found.append(number)
    return found


def part(path: Path, request: Any, start: float, end: float | None) -> Any:
    (found,) = read(path, [request], start=start, end=end)
    if isinstance(found, Unusable):
        raise found
    return found


@pytest.mark.parametrize("name", CASES)
def test_every_seek_finds_its_frame(films: dict[str, Path], name: str) -> None:
    times = shown(films[name], CASES[name])
    rng = np.random.default_rng(1)
    starts = [times[0], *rng.uniform(times[0], times[-1], 8), *(rng.choice(times, 8)), times[-1]]
    for start in starts:
        found = part(films[name], FramesRequest(size=(8, 64), gray=True), start, start + 0.2)
        assert isinstance(found, Frames)
        numbers = [painted(frame) for frame in found.pixels]
        assert numbers == on_screen(times, start, start + 0.2), start
        np.testing.assert_allclose(found.times, np.maximum(0, times[numbers] - start), atol=0.002)


@pytest.mark.parametrize("name", ["uneven.mp4", "even.mkv"])
def test_a_grid_in_a_part_takes_the_nearest_frames(films: dict[str, Path], name: str) -> None:
    times = shown(films[name], CASES[name])
    for start in (0.2, 0.213, 2.5, 3.7):
        points = start + np.arange(14) / 7
        nearest = [int(np.abs(times - point).argmin()) for point in points]  # of two as near, the earlier
        found = part(films[name], FramesRequest(rate=7, size=(8, 64), gray=True), start, start + 2)
        assert [painted(frame) for frame in found.pixels] == nearest


@pytest.mark.parametrize(
    "name", ["even.mp4", "offset.mp4", "even.mkv", "even.ts", "even.avi", "mpeg1.mpg", "even.webm"]
)
@pytest.mark.parametrize("rate", [16000, 44100])
def test_sound_of_a_part_is_that_of_the_whole(films: dict[str, Path], name: str, rate: int) -> None:
    path = films[name]
    whole = read_sound(path, rate=rate)
    for start, end in ((0.0, 1.0), (0.3, 0.9), (2.0, 3.0), (4.123, 4.777), (7.1, 7.2)):
        found = part(path, SoundRequest(rate), start, end)
        np.testing.assert_allclose(found, whole[round(start * rate) : round(end * rate)], atol=2e-4)


def shown(path: Path, case: dict[str, Any]) -> np.ndarray:
    """When each frame is shown: seconds since the first of the streams begins."""
    stamps = np.array(case.get("stamps", PLAIN))
    picture = begin(path, "video")
    return picture - min(picture, begin(path, "audio")) + (stamps - stamps[0]) / RATE


def begin(path: Path, kind: str) -> float:
    with av.open(str(path)) as container:
        return float(next(container.decode(**{kind: 0})).time)
