"""Sound comes back at the asked rate, at the right pitch, length and level."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from media_cases import paint, sine, write_float_wav, write_wav

from sparsefuse.features import build, extractor
from sparsefuse.features.spectrogram import log_mel
from sparsefuse.files.skipped import Unusable
from sparsefuse.media import SoundRequest, read, read_sound, write_clip


def pitch(sound: np.ndarray, rate: int) -> float:
    """The strongest frequency in hertz."""
    return float(np.abs(np.fft.rfft(sound * np.hanning(len(sound)))).argmax() * rate / len(sound))


def test_a_tone_survives_the_round_trip_through_a_clip(clip: Path) -> None:
    sound = read_sound(clip)
    assert sound.dtype == np.float32
    assert abs(len(sound) - 48000) <= 1024  # AAC fills its last frame of 1024 samples
    assert pitch(sound[:48000], 16000) == pytest.approx(440, abs=0.4)
    assert np.abs(sound[4000:40000]).max() == pytest.approx(0.5, abs=0.03)


def test_44100_hertz_become_16000(tmp_path: Path) -> None:
    tone = sine(1000, 1, rate=44100)
    write_wav(tmp_path / "t.wav", tone[:, None], 44100)
    sound = read_sound(tmp_path / "t.wav")
    assert abs(len(sound) - 16000) <= 1  # also the samples the resampling filter holds at the end
    np.testing.assert_allclose(sound[200:-200], sine(1000, 1)[200:-200], atol=2e-3)


def test_what_16000_hertz_cannot_hold_is_filtered_out(tmp_path: Path) -> None:
    write_wav(tmp_path / "t.wav", sine(12000, 1, rate=44100)[:, None], 44100)
    assert np.abs(read_sound(tmp_path / "t.wav")[200:-200]).max() < 0.01  # it would fold to 4 kHz at 0.5


def test_an_equal_rate_changes_nothing(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 777)
    write_wav(tmp_path / "n.wav", noise[:, None], 16000)
    np.testing.assert_allclose(read_sound(tmp_path / "n.wav"), noise, atol=1e-4)  # 16-bit steps


def test_stereo_becomes_the_mean(tmp_path: Path) -> None:
    left, right = np.full(500, 0.9), np.linspace(-0.5, 0.9, 500)
    write_wav(tmp_path / "s.wav", np.stack([left, right], axis=1), 16000)
    np.testing.assert_allclose(read_sound(tmp_path / "s.wav"), (left + right) / 2, atol=1e-4)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Silence; a tone, played by default; a higher tone that begins half a second late. Noisy frames of a picture."""
    path = tmp_path_factory.mktemp("tracks") / "a.mkv"
    with av.open(str(path), "w") as container:
        picture: Any = container.add_stream("mpeg4", rate=10)
        picture.width, picture.height, picture.pix_fmt = 128, 32, "yuv420p"
        streams: list[Any] = [container.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(3)]
        streams[0].disposition, streams[1].disposition = Disposition(0), Disposition.default
        for index, pixels in enumerate(paint(range(30))):
            image = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            image.pts, image.time_base = index, Fraction(1, 10)
            container.mux(picture.encode(image))
        container.mux(picture.encode(None))
        for stream, sound, begin in zip(streams, SOUNDS, (0, 0, 8000), strict=True):
            frame = av.AudioFrame.from_ndarray((sound[None] * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, begin, Fraction(1, 16000)
            container.mux(stream.encode(frame))
    return path


SOUNDS = np.zeros(48000), sine(440, 3), sine(880, 2)


@pytest.mark.parametrize(
    ("audio", "expected"),
    [
        ("default", SOUNDS[1]),
        ("first", SOUNDS[0]),
        (0, SOUNDS[0]),
        (1, SOUNDS[1]),
        (2, np.concatenate([np.zeros(8000), SOUNDS[2]])),
    ],
)
def test_a_sound_is_chosen(tracks: Path, audio: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(read_sound(tracks, audio=audio), expected, atol=1e-4)
    requests = [SoundRequest(audio=which) for which in ("default", audio, 1, 2)]
    whole, part = read(tracks, requests), read(tracks, requests, start=0.25, end=1.5)
    np.testing.assert_allclose(whole[1], expected, atol=1e-4)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(part[1], expected[4000:24000], atol=1e-4)  # pyright: ignore[reportArgumentType]


def test_a_sound_that_is_not_there_is_named(tracks: Path) -> None:
    for number in (3, -1):
        with pytest.raises(Unusable, match=rf"a\.mkv: has no audio stream of number {number}, counted from 0"):
            read_sound(tracks, audio=number)


def test_channels_that_cancel_can_be_heard_one_by_one(tmp_path: Path) -> None:
    left, right = sine(440, 1), -sine(440, 1) / 2
    write_wav(tmp_path / "a.wav", np.stack([left, right], axis=1), 16000)
    expected = {"mean": left / 4, "left": left, "right": right, "max": left}
    for channels, wave in expected.items():
        np.testing.assert_allclose(read_sound(tmp_path / "a.wav", channels=channels), wave, atol=1e-4)  # pyright: ignore[reportArgumentType]
        found = extractor("spectrogram")(tmp_path / "a.wav", channels=channels)
        np.testing.assert_allclose(found, log_mel(wave), atol=0.1)
    write_wav(tmp_path / "one.wav", left[:, None], 16000)
    np.testing.assert_allclose(read_sound(tmp_path / "one.wav", channels="right"), left, atol=1e-4)
    with pytest.raises(ValueError, match="value of channels 'both'"):
        build("spectrogram", {"channels": "both"})
    with pytest.raises(ValueError, match=r"audio is 1\.5, expected default, first or a whole number"):
        build("spectrogram", {"audio": 1.5})


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    write_clip(tmp_path / "mute.mp4", paint(range(3)), fps=5)
    with pytest.raises(Unusable, match=r"mute\.mp4: has no sound .* its streams: video"):
        read_sound(tmp_path / "mute.mp4")


def test_a_stream_of_zero_length_is_unusable(tmp_path: Path) -> None:
    write_wav(tmp_path / "z.wav", np.zeros((0, 1)), 16000)
    with pytest.raises(Unusable, match=r"z\.wav"):
        read_sound(tmp_path / "z.wav")


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("decode_samples/torchcodec/sine_mono_s32.wav", 4.0),
        ("decode_samples/torchcodec/nasa_13013.mp4.audio.mp3", 13.06),
        ("esc10/002_rain/1-17367-A.ogg", 5.0),
        ("grid/clips/bbaf2n.mp4", 2.98),
        ("grid/original_mpg/bgah2p.mpg", 2.98),
    ],
)
def test_real_files_decode(real: Path, name: str, seconds: float) -> None:
    if not (real / name).exists():
        pytest.skip(f"no {name}")
    sound = read_sound(real / name)
    assert len(sound) / 16000 == pytest.approx(seconds, abs=0.07)  # a frame of the codec
    assert 0 < np.abs(sound).max() <= 1


def test_sound_that_is_not_finite_is_unusable(tmp_path: Path) -> None:
    wave = np.zeros(1600, np.float32)
    wave[[100, 200]] = np.nan, np.inf
    write_float_wav(tmp_path / "a.wav", wave, 16000)
    with pytest.raises(Unusable, match=r"a\.wav: 2 of 1600 sound samples are NaN or infinite"):
        read_sound(tmp_path / "a.wav")
