"""A look into parts of a file finds what is in it, and what is wrong with it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_cases import cut_short, remux, sine, write_wav

from sparsefuse.files.skipped import Unusable
from sparsefuse.media import write_clip
from sparsefuse.media.probe import FLOOR, Picture, Probe, Sound, probe


def film(path: Path, levels: list[int], *, size: int = 32) -> Path:
    """A frame of one grey each, at 10 a second."""
    write_clip(
        path, np.array(levels, np.uint8)[:, None, None, None].repeat(size, 1).repeat(size, 2).repeat(3, 3), fps=10
    )
    return path


def test_streams_lengths_rates_and_sizes_are_found(clip: Path) -> None:
    found = probe(clip)
    assert found.bytes == len(clip.read_bytes())
    picture, sound = found.picture, found.sound
    assert picture is not None
    assert sound is not None
    assert (picture.height, picture.width, picture.rate, picture.seconds) == (32, 128, 25, 3)
    assert (sound.rate, sound.channels) == (16000, 1)
    assert sound.seconds == pytest.approx(3, abs=0.07)  # AAC fills its last frame of 1024 samples
    assert sound.peak == pytest.approx(20 * np.log10(0.5), abs=0.5)
    assert found.seconds == pytest.approx(3, abs=0.07)
    assert (found.silent, found.black, found.frozen) == (False, False, False)


@pytest.mark.parametrize(("peak", "silent"), [(0.0005, True), (0.002, False)])  # -66 dB and -54 dB
def test_sound_below_the_limit_is_silent(tmp_path: Path, peak: float, silent: bool) -> None:
    write_wav(tmp_path / "a.wav", 2 * peak * sine(440, 1)[:, None], 16000)
    found = probe(tmp_path / "a.wav")
    assert found.silent == silent
    assert found.sound is not None
    assert found.sound.peak == pytest.approx(20 * np.log10(peak), abs=0.5)
    assert found.picture is None


def test_samples_of_zero_have_a_finite_peak(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros((8000, 2)), 8000)
    assert probe(tmp_path / "a.wav").sound == Sound(8000, 2, 1.0, FLOOR, FLOOR, 0, 0.0)


@pytest.mark.parametrize(("right", "silent", "cancels"), [(-1, True, True), (-0.9, False, True), (0, False, False)])
def test_channels_that_cancel_are_as_loud_as_their_mean(
    tmp_path: Path, right: float, silent: bool, cancels: bool
) -> None:
    """Opposite channels are silence to what reads their mean."""
    left = sine(440, 1)
    write_wav(tmp_path / "a.wav", np.stack([left, right * left], axis=1), 16000)
    found = probe(tmp_path / "a.wav")
    assert (found.silent, found.cancels) == (silent, cancels)
    assert found.sound is not None
    assert found.sound.loudest == pytest.approx(20 * np.log10(0.5), abs=0.5)
    if not silent:
        assert found.sound.peak == pytest.approx(20 * np.log10(0.5 * (1 + right) / 2), abs=0.5)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_holes_and_late_starts_are_found(clip: Path, tmp_path: Path, suffix: str) -> None:
    """Half a second of the sound is lost in the middle, and all of it comes 0.3 s later."""
    with av.open(str(clip)) as old, av.open(str(tmp_path / f"a{suffix}"), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        lost, later = [], 0
        for packet in old.demux():
            if packet.dts is None or packet.pts is None:
                continue
            if packet.stream.type == "audio":
                later = later or round(Fraction(3, 10) / packet.time_base)
                if 1 <= packet.pts * packet.time_base < 1.5:
                    lost.append(packet)
                    continue
                packet.pts, packet.dts = packet.pts + later, packet.dts + later
            packet.stream = streams[packet.stream.index]
            new.mux(packet)
    whole, found = probe(clip), probe(tmp_path / f"a{suffix}")
    assert whole.sound is not None
    assert found.sound is not None
    assert (whole.sound.holes, found.sound.holes) == (0, 1)
    assert found.sound.silence == pytest.approx(len(lost) * 1024 / 16000, abs=0.003)
    assert whole.late == pytest.approx(0, abs=0.01)
    assert found.late == pytest.approx(0.3 - 0.064, abs=0.01)  # the encoder's delay is no longer skipped
    assert found.seconds == pytest.approx(3.3, abs=0.15)


def test_a_beep_between_the_parts_is_heard(tmp_path: Path) -> None:
    """Parts of 12 s begin at 0, 2.75, 5.5, 8.25 and 11 s and last a second."""
    wave = np.zeros((12 * 8000, 1), np.float32)
    wave[4 * 8000 + 2000 : 4 * 8000 + 4000] = 0.5
    write_wav(tmp_path / "a.wav", wave, 8000)
    assert not probe(tmp_path / "a.wav").silent


def test_a_long_silence_is_heard_to_its_end(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros((12 * 8000, 1)), 8000)
    assert probe(tmp_path / "a.wav").silent


@pytest.mark.parametrize(
    ("levels", "black", "frozen"),
    [
        ([4] * 8, True, True),
        ([200] * 8, False, True),
        ([200, 200, 200, 120, 200, 200, 200, 200], False, False),  # one key frame: only its followers tell
        ([4, 4, 4, 4, 4, 4, 4, 90], False, False),
        ([200], False, False),  # a single frame cannot stand still
    ],
)
def test_black_and_frozen_films_are_told_from_others(
    tmp_path: Path, levels: list[int], black: bool, frozen: bool
) -> None:
    found = probe(film(tmp_path / "a.mp4", levels))
    assert (found.black, found.frozen) == (black, frozen)


def test_a_still_picture_has_a_size_and_no_rate(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 24, 16, "rgb24"
        frame = av.VideoFrame.from_ndarray(np.full((16, 24, 3), 99, np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    picture = probe(tmp_path / "a.png").picture
    assert picture is not None
    assert (picture.height, picture.width, picture.rate, picture.looked_at) == (16, 24, 0, 1)


def test_a_text_has_neither_picture_nor_sound(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("what is said", encoding="utf-8")
    assert probe(tmp_path / "a.txt") == Probe(12, None, None)
    (tmp_path / "b.srt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Unusable, match=r"b\.srt: is not UTF-8 text"):
        probe(tmp_path / "b.srt")


@pytest.mark.parametrize(("suffix", "options"), [(".mp4", {}), (".mp4", {"movflags": "faststart"}), (".mkv", {})])
def test_a_file_that_was_cut_short_is_named(clip: Path, tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    whole = remux(clip, tmp_path / f"whole{suffix}", **options)
    probe(whole)
    with pytest.raises(Unusable, match=rf"cut\{suffix}: .*(cut short|truncated|damaged)"):
        probe(cut_short(whole))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", r"is empty \(0 bytes\)"),
        ("text.mp4", b"hello world\n" * 200, "text file|cannot be decoded"),
        ("noise.wav", bytes(range(256)) * 40, "cannot be decoded"),
    ],
)
def test_what_is_no_media_file_is_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unusable, match=rf"{name}: .*({reason})"):
        probe(tmp_path / name)
    with pytest.raises(Unusable, match="missing"):
        probe(tmp_path / "gone.mp4")
    with pytest.raises(Unusable, match="is a folder"):
        probe(tmp_path)


def test_a_damaged_film_is_named(tmp_path: Path) -> None:
    """Key frame and followers overwritten where the samples lie; header and index are whole."""
    rng = np.random.default_rng(0)
    write_clip(tmp_path / "a.mp4", rng.integers(0, 255, (12, 64, 64, 3), dtype=np.uint8), fps=10)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    begin = content.index(b"mdat") + 4
    content[begin + 100 : begin + len(content) * 8 // 10] = b"\xff" * (len(content) * 8 // 10 - 100)
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(Unusable, match=r"a\.mp4: .*(damaged|empty|decoded)"):
        probe(tmp_path / "a.mp4")


def test_real_clips_are_neither_silent_nor_frozen(real: Path) -> None:
    files = [
        *sorted((real / "vggsound_samples" / "video").glob("*.mp4"))[:3],
        *sorted((real / "grid").rglob("*.m*"))[:3],
    ]
    assert files
    for file in files:
        found = probe(file)
        assert isinstance(found.picture, Picture)
        assert isinstance(found.sound, Sound)
        assert (found.silent, found.black, found.frozen) == (False, False, False), file


def test_probing_does_not_run_to_the_end_of_long_clips(real: Path) -> None:
    """Ten seconds of picture are 300 frames, of which few are decoded."""
    picture = probe(min((real / "vggsound_samples" / "video").glob("*.mp4"))).picture
    assert picture is not None
    assert picture.looked_at < 10
