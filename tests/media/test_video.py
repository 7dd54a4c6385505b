"""Frames come back as they were written: which, when, how large, which way up."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_cases import paint, painted, write_wav

from sparsefuse.files.skipped import Unusable
from sparsefuse.media import read_frames, write_clip
from sparsefuse.media.open import Track, _lenient


def numbers(frames: np.ndarray) -> list[int]:
    return [painted(frame) for frame in frames]


def write_at(path: Path, stamps: list[int], per_second: int) -> None:
    """Numbered frames shown at the times stamps / per_second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=per_second)
        stream.width, stream.height, stream.pix_fmt = 128, 32, "yuv420p"
        for stamp, pixels in zip(stamps, paint(range(len(stamps))), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, per_second)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_picture(path: Path, pixels: np.ndarray) -> None:
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png")
        stream.width, stream.height, stream.pix_fmt = pixels.shape[1], pixels.shape[0], "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def test_every_frame_is_read_in_order_with_its_time(clip: Path) -> None:
    frames = read_frames(clip)
    assert frames.pixels.shape == (75, 32, 128, 3)
    assert frames.pixels.dtype == np.uint8
    assert numbers(frames.pixels) == list(range(75))
    np.testing.assert_allclose(frames.times, np.arange(75) / 25, atol=1e-9)


def test_a_lower_rate_takes_the_nearest_frames(clip: Path) -> None:
    frames = read_frames(clip, rate=10)
    assert frames.times.dtype == np.float64
    np.testing.assert_allclose(frames.times, np.arange(30) / 10, atol=1e-12)
    # 0.1 s is frame 2.5: of two as near, the earlier one.
    assert numbers(frames.pixels) == [k // 2 * 5 + (2 if k % 2 else 0) for k in range(30)]


def test_a_higher_rate_repeats_frames(clip: Path) -> None:
    frames = read_frames(clip, rate=50)
    assert len(frames.pixels) == 150
    assert numbers(frames.pixels)[:6] == [0, 0, 1, 1, 2, 2]


def test_a_variable_frame_rate_is_resampled_by_time(tmp_path: Path) -> None:
    write_at(tmp_path / "v.mp4", [0, 1, 2, 12, 13], per_second=10)
    frames = read_frames(tmp_path / "v.mp4", rate=5)
    # At 0, .2, .4, .6 s frame 2 (shown at .2) is nearest from .2 to .7 s, then frame 3 (1.2 s); 1.4 s is the end.
    assert numbers(frames.pixels) == [0, 2, 2, 2, 3, 3, 3]


def test_scaling_averages_what_falls_into_a_pixel(tmp_path: Path) -> None:
    stripes = np.zeros((2, 32, 32, 3), np.uint8)
    stripes[:, ::2] = 200
    write_clip(tmp_path / "s.mp4", stripes, fps=5)
    small = read_frames(tmp_path / "s.mp4", size=(4, 8), gray=True).pixels
    assert small.shape == (2, 4, 8, 1)
    np.testing.assert_allclose(small, 100, atol=6)  # 8-bit colour conversion and compression


def test_gray_spans_black_to_white(tmp_path: Path) -> None:
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    pixels[1] = 255
    write_clip(tmp_path / "bw.mp4", pixels, fps=5)
    gray = read_frames(tmp_path / "bw.mp4", gray=True).pixels
    assert gray[0].max() <= 2
    assert gray[1].min() >= 253


def test_colours_come_in_the_order_red_green_blue(tmp_path: Path) -> None:
    write_clip(tmp_path / "red.mp4", np.full((2, 32, 32, 3), (250, 20, 20), np.uint8), fps=5)
    np.testing.assert_allclose(read_frames(tmp_path / "red.mp4").pixels[0, 16, 16], (250, 20, 20), atol=4)


def test_packets_that_repeat_a_frame_do_not_end_the_film(clip: Path) -> None:
    """They are empty, as in theora where the picture stands still."""
    frames = []
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        track = Track(stream, clip)
        for index, packet in enumerate(container.demux(stream)):
            frames += track.decode(packet)
            if index in (5, 6):
                empty = av.Packet(0)
                empty.pts, empty.dts, empty.time_base, empty.stream = packet.pts, packet.dts, packet.time_base, stream
                frames += track.decode(empty)
    assert len(frames) == 75


def test_a_still_picture_is_one_frame(tmp_path: Path) -> None:
    picture = paint(range(77, 78))[0]
    write_picture(tmp_path / "p.png", picture)
    for rate in (None, 10):
        frames = read_frames(tmp_path / "p.png", rate=rate)
        np.testing.assert_array_equal(frames.pixels, picture[None])
        assert frames.times.tolist() == [0.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rate": 0}, "rate is 0"), ({"rate": float("nan")}, "rate is nan"), ({"size": (0, 4)}, "height, width")],
)
def test_impossible_options_are_refused(clip: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_frames(clip, **options)


def test_a_sound_file_has_no_picture(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros((100, 1)), 16000)
    with pytest.raises(Unusable, match=r"a\.wav: has no picture .* its streams: audio"):
        read_frames(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("decode_samples/torchcodec/h265_video.mp4", (10, 1)),
        ("decode_samples/torchcodec/av1_video.mkv", (50, 1)),
        ("decode_samples/torchcodec/nasa_13013.mp4", (130, 1)),
        ("grid/clips/bbaf2n.mp4", (30, 1)),
        ("grid/original_mpg/bgah2p.mpg", (30, 1)),
    ],
)
def test_real_files_decode(real: Path, name: str, shape: tuple[int, int]) -> None:
    if not (real / name).exists():
        pytest.skip(f"no {name}")
    assert read_frames(real / name, rate=10, size=(8, 8), gray=True).pixels.shape == (shape[0], 8, 8, shape[1])


def test_titles_of_any_encoding_are_read_by_every_version_of_pyav() -> None:
    """PyAV 19 has no argument for it."""
    assert _lenient("18.1.0") == {"metadata_errors": "ignore"}
    assert _lenient("19.0.2") == _lenient("20.1.0") == {}
