"""PNG files say the pixels they were given, as FFmpeg reads them."""

import io

import av
import numpy as np
import pytest

from sparsefuse.media.png import png_of, write_png


def read(content, format):
    with av.open(io.BytesIO(content)) as container:
        return next(container.decode(video=0)).to_ndarray(format=format)


@pytest.mark.parametrize(
    ("shape", "dtype", "format"),
    [((5, 7), np.uint8, "gray"), ((5, 7), np.uint16, "gray16le"), ((5, 7, 3), np.uint8, "rgb24"),
     ((1, 1, 3), np.uint8, "rgb24"), ((6, 3, 4), np.uint8, "rgba")],
)  # fmt: skip
def test_ffmpeg_reads_what_was_written(shape, dtype, format):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    np.testing.assert_array_equal(read(png_of(pixels), format), pixels)


def test_columns_in_another_order_of_memory_are_the_same_picture():
    pixels = np.random.default_rng(0).integers(0, 2**16, (4, 6)).astype(np.uint16)
    assert png_of(np.asfortranarray(pixels)) == png_of(pixels)


def test_a_palette_shows_colors(tmp_path):
    labels = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    colors = [(9, 8, 7), (255, 0, 0), (0, 0, 255)]
    write_png(tmp_path / "labels.png", labels, colors)
    shown = read((tmp_path / "labels.png").read_bytes(), "rgb24")
    np.testing.assert_array_equal(shown, np.array(colors, np.uint8)[labels])
    assert [path.name for path in tmp_path.iterdir()] == ["labels.png"]


@pytest.mark.parametrize(
    ("pixels", "palette", "got"),
    [
        (np.zeros((2, 2)), None, r"\(2, 2\) float64"),
        (np.zeros((2, 2, 3), np.uint16), None, r"\(2, 2, 3\) uint16"),
        (np.zeros((0, 2), np.uint8), None, r"\(0, 2\) uint8"),
        (np.full((2, 2), 3, np.uint8), [(0, 0, 0)] * 3, "palette of 3 colors.*up to 3"),
        (np.zeros((2, 2, 3), np.uint8), [(0, 0, 0)], r"got \(2, 2, 3\)"),
    ],
)
def test_other_arrays_are_refused(pixels, palette, got):
    with pytest.raises(ValueError, match=got):
        png_of(pixels, palette)
