"""Sound has times: holes and overlaps of its time stamps, streams that begin apart, recordings that were appended."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_cases import paint, painted

from sparsefuse.files.skipped import Unusable
from sparsefuse.media import FramesRequest, SoundRequest, read, read_frames, read_sound

RATE = 16000
LOST = (1.0, 1.8)  # seconds
HOLED = {
    "pcm.mkv": "pcm_s16le",
    "flac.mkv": "flac",
    "mp3.mkv": "libmp3lame",
    "aac.mkv": "aac",
    "opus.webm": "libopus",
    "aac.mp4": "aac",
    "opus.mp4": "libopus",
    "alac.mov": "alac",
    "aac.ts": "aac",
    "ac3.ts": "ac3",
    "aac.flv": "aac",
}


def noise(seconds: float, rate: int = RATE) -> np.ndarray:
    """A rising tone in noise: no two places sound alike."""
    time = np.arange(round(seconds * rate)) / rate
    hiss = np.random.default_rng(0).uniform(-0.2, 0.2, len(time))
    return (0.4 * np.sin(2 * np.pi * (200 + 100 * time) * time) + hiss).astype(np.float32)


def write(
    path: Path,
    codec: str = "pcm_s16le",
    *,
    sound: np.ndarray | None = None,
    picture_at: float | None = 0.0,
    sound_at: float = 0.0,
    keep: Callable[[float], float | None] = lambda time: time,
    frames: int = 100,
    rate: int = RATE,
) -> Path:
    """Numbered frames at 25 a second from `picture_at` on, None = none; sound from `sound_at` on, of which `keep` says
    at which time a packet goes into the file; None = it is lost."""
    sound = noise(4) if sound is None else sound
    with av.open(str(path), "w") as container:
        picture: Any = None
        if picture_at is not None:
            picture = container.add_stream("libvpx" if path.suffix == ".webm" else "libx264", rate=25)
            picture.width, picture.height, picture.pix_fmt = 128, 32, "yuv420p"
            picture.options = {"g": "10"} | ({} if path.suffix == ".webm" else {"bf": "0"})
            picture.codec_context.thread_count = 1
        rate = {"libopus": 48000, "ac3": 48000}.get(codec, 44100 if path.suffix == ".flv" else rate)
        voice: Any = container.add_stream(codec, rate=rate, layout="mono")
        voice.options = {"aac_pns": "0"} if codec == "aac" else {}  # else the decoder makes up noise
        waiting = []
        for frame in pieces(sound, voice):
            waiting += voice.encode(frame)
        waiting += voice.encode(None)
        for index, pixels in enumerate(paint(range(frames)) if picture else []):
            image = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            image.pts, image.time_base = index + round(25 * (picture_at or 0)), Fraction(1, 25)
            container.mux(picture.encode(image))
        if picture:
            container.mux(picture.encode(None))
        for packet in waiting:
            if (time := keep(float(packet.pts * packet.time_base))) is not None:
                moved = round((time + sound_at) / packet.time_base) - packet.pts
                packet.pts, packet.dts = packet.pts + moved, packet.dts + moved
                container.mux(packet)
    return path


def pieces(sound: np.ndarray, voice: Any) -> list[Any]:
    """The sound in frames of the encoder's kind and size."""
    whole = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
    whole.sample_rate, whole.pts, whole.time_base = RATE, 0, Fraction(1, RATE)
    resampler = av.AudioResampler(format=voice.codec_context.format, rate=voice.rate, layout="mono")
    fifo = av.AudioFifo()
    for piece in [*resampler.resample(whole), *resampler.resample(None)]:
        fifo.write(piece)
    frames = []
    while piece := fifo.read(voice.codec_context.frame_size or 1024, partial=True):
        frames.append(piece)
    return frames


def part(path: Path, start: float, end: float) -> np.ndarray:
    (found,) = read(path, [SoundRequest()], start=start, end=end)
    assert isinstance(found, np.ndarray), found
    return found


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    """The same sound at the same samples; decoders that begin anew differ a little for a while."""
    errors = [np.square(np.roll(found, lag) - expected)[2:-2].mean() for lag in (-1, 0, 1)]
    assert len(found) == len(expected)
    assert errors[1] <= 1e-2 * min(errors[0], errors[2])


@pytest.mark.parametrize("name", HOLED)
def test_silence_stands_in_a_hole_to_the_sample(tmp_path: Path, name: str) -> None:
    lost = []

    def keep(time: float) -> float | None:
        if LOST[0] <= time < LOST[1]:
            lost.append(time)
            return None
        return time

    full = read_sound(write(tmp_path / f"full_{name}", HOLED[name]))
    holed = write(tmp_path / name, HOLED[name], keep=keep)
    found = read_sound(holed)
    assert len(found) == len(full)
    blend = 3 * round(RATE * (lost[1] - lost[0]))  # codecs blend packets with those before and after
    first, last = round(lost[0] * RATE), round(lost[-1] * RATE) + blend
    assert_same(found[: first - blend], full[: first - blend])
    assert not found[first + blend : last - 2 * blend].any()
    assert_same(found[last + RATE // 5 :], full[last + RATE // 5 :])  # mp3 borrows bits of packets before
    for start, end in ((0.5, 2.5), (1.3, 1.5), (1.5, 3.0), (2.7, 3.3), (3.1, 3.2)):
        assert_same(part(holed, start, end), found[round(start * RATE) : round(end * RATE)])


@pytest.mark.parametrize("codec", ["pcm_s16le", "flac"])
def test_packets_of_one_length_fill_a_hole_exactly_where_times_are_rounded(tmp_path: Path, codec: str) -> None:
    """Matroska counts milliseconds: 44 samples."""
    lost = []

    def keep(time: float) -> float | None:
        lost.extend([time] if LOST[0] <= time < LOST[1] else [])
        return None if LOST[0] <= time < LOST[1] else time

    full = read_sound(write(tmp_path / "full.mkv", codec, rate=44100), rate=44100)
    found = read_sound(write(tmp_path / "a.mkv", codec, rate=44100, keep=keep), rate=44100)
    expected, packet = full.copy(), lost[1] - lost[0]
    expected[round(44100 * lost[0]) : round(44100 * (lost[-1] + packet))] = 0
    np.testing.assert_array_equal(found, expected)


def test_what_overlaps_is_cut(tmp_path: Path) -> None:
    """From the second second on each packet of 64 ms begins 40 ms after the one before."""
    sound, count = noise(2), 1024
    places = [n * count if n * count < RATE else 16 * count + (n - 16) * 640 for n in range(32)]
    path = write(
        tmp_path / "a.mkv", sound=sound, picture_at=None, keep=lambda time: places[round(time * RATE / count)] / RATE
    )
    expected = np.zeros(places[30] + count, np.float32)
    for n, place in reversed(list(enumerate(places))):  # what came first stays
        block = sound[n * count : (n + 1) * count][: len(expected) - place]
        expected[place : place + len(block)] = block
    np.testing.assert_allclose(read_sound(path), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["late.mkv", "late.mov"])
def test_sound_that_begins_late_begins_with_silence(tmp_path: Path, name: str) -> None:
    found = read_sound(write(tmp_path / name, sound_at=1.0))
    alone = read_sound(write(tmp_path / f"alone_{name}", picture_at=None))
    assert not found[:RATE].any()
    np.testing.assert_allclose(found[RATE:], alone, atol=1e-3)
    np.testing.assert_array_equal(part(tmp_path / name, 0.5, 1.5), found[RATE // 2 : 3 * RATE // 2])
    (none,) = read(tmp_path / name, [SoundRequest()], start=0.0, end=0.5)
    assert isinstance(none, Unusable)  # the clip has no sound here, rather than silence


@pytest.mark.parametrize("name", ["a.mkv", "a.mov"])
def test_a_picture_that_begins_late_begins_black(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, picture_at=1.0)
    np.testing.assert_allclose(read_sound(path)[:64000], noise(4), atol=1e-4)
    grid = read_frames(path, rate=25, size=(8, 64), gray=True)
    assert not grid.pixels[:25].any()
    assert [painted(frame) for frame in grid.pixels[25:]] == list(range(100))
    frames = read_frames(path)  # every frame: there is none before the first
    np.testing.assert_allclose(frames.times, 1 + np.arange(100) / 25, atol=1e-3)
    (cut,) = read(path, [FramesRequest(25, (8, 64), True)], start=0.6, end=1.4)
    assert not isinstance(cut, Unusable)
    np.testing.assert_array_equal(cut.pixels, grid.pixels[15:35])  # pyright: ignore[reportAttributeAccessIssue]
    (none,) = read(path, [FramesRequest(25)], start=0.2, end=0.6)
    assert isinstance(none, Unusable)


def test_a_picture_a_frame_late_is_shown_from_the_beginning(tmp_path: Path) -> None:
    grid = read_frames(write(tmp_path / "a.mkv", picture_at=0.04), rate=25, size=(8, 64), gray=True)
    assert [painted(frame) for frame in grid.pixels[:3]] == [0, 0, 1]


def test_streams_read_one_by_one_are_in_step(tmp_path: Path) -> None:
    """The request for one stream knows when the other begins."""
    path = write(tmp_path / "a.mkv", sound_at=0.5)
    (together,) = read(path, [SoundRequest()])
    _, both = read(path, [FramesRequest(5), SoundRequest()])
    np.testing.assert_array_equal(together, both)
    assert not np.any(both[:8000])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.ogg"])
def test_recordings_that_were_appended_follow_on(tmp_path: Path, name: str) -> None:
    codec = {"a.ts": "ac3", "a.mkv": "pcm_s16le", "a.ogg": "libopus"}[name]
    once = write(tmp_path / name, codec, picture_at=None if name == "a.ogg" else 0.0)
    twice = tmp_path / f"twice_{name}"
    twice.write_bytes(once.read_bytes() * 2)
    single, double = read_sound(once), read_sound(twice)
    begin = len(double) - len(single)
    assert begin == pytest.approx(len(single), abs=0.07 * RATE)  # a packet of the codec or a frame of the picture
    errors = [np.square(np.roll(double[begin:], lag) - single)[2000:-2].mean() for lag in range(-2, 3)]
    assert np.argmin(errors) == 2  # where the second begins is not a whole sample
    if name != "a.ogg":
        frames = read_frames(twice, rate=25, size=(8, 64), gray=True)
        assert [painted(frame) for frame in frames.pixels][-100:] == list(range(100))
        np.testing.assert_allclose(part(twice, 5, 6), double[5 * RATE : 6 * RATE], atol=2e-3)


def test_a_time_stamp_hours_away_is_not_filled(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", picture_at=None, keep=lambda time: time + 7200 * (time > 2))
    with pytest.raises(Unusable, match=r"a\.mkv: its sound pauses until 720\d s by its time stamps"):
        read_sound(path)
    write(tmp_path / "b.mkv", sound_at=7200)
    with pytest.raises(Unusable, match="its sound begins 7200 s after its picture"):
        read_sound(tmp_path / "b.mkv")


@pytest.mark.parametrize("rounded", [lambda time: round(time, 3), lambda time: time - 9 / 44100 * (time > 0.06)])
def test_time_stamps_that_another_container_rounded_put_parts_in_place(tmp_path: Path, rounded: Any) -> None:
    """Of a matroska file, copied into one that counts samples: to milliseconds, or off by a part of one."""
    path = write(tmp_path / "a.mp4", "aac", sound=noise(6), rate=44100, keep=rounded)
    whole = read_sound(path, rate=44100)
    assert len(whole) == pytest.approx(6 * 44100, abs=1100)
    for start in (0.6, 1.7, 3.1, 4.9):
        (found,) = read(path, [SoundRequest(44100)], start=start, end=start + 0.5)
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, whole[round(start * 44100) : round((start + 0.5) * 44100)], atol=2e-3)


@pytest.mark.slow
def test_sound_that_changes_its_rate_midway_is_never_read_wrong(tmp_path: Path) -> None:
    """A part that begins after the change, but is reached from before it, was stretched and shifted."""
    slow, fast = write(tmp_path / "a.ts", "aac", rate=32000), write(tmp_path / "b.ts", "aac", rate=44100)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(slow.read_bytes() + fast.read_bytes())
    with pytest.raises(Unusable, match="its sound changes rate midway, from 32000 to 44100 Hz; convert it first"):
        read_sound(joined)
    first, second = read_sound(slow), read_sound(fast)
    begin = len(first)
    for start in np.arange(0.5, 7.5, 0.25):
        (found,) = read(joined, [SoundRequest()], start=start, end=start + 0.5)
        if isinstance(found, Unusable):
            assert "changes rate midway" in str(found)
            assert start > 3
        elif start < 4:
            assert_same(found, first[round(start * RATE) :][: len(found)])
        else:
            place = round(start * RATE) - begin
            assert abs(_lag(found, second[place - RATE // 4 :]) - RATE // 4) < RATE // 20


def _lag(part: np.ndarray, whole: np.ndarray) -> int:
    """Where the part fits best into the whole."""
    return int(np.correlate(whole[: len(part) + RATE], part, "valid").argmax())
