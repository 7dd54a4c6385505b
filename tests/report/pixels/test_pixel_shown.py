"""Pictures of streams show what they hold."""

import base64

import numpy as np
import pytest

from sparsefuse.media.png import png_of
from sparsefuse.report.pixels.shown import HOLE, data_url, over, seen, smaller, warm


def test_color_gray_and_normals_keep_their_order():
    color = np.array([[[0.0, 0.5, 1.0]]])
    assert seen(color, "color").tolist() == [[[0, 128, 255]]]
    assert seen(color[..., 1:2], "gray").tolist() == [[[128, 128, 128]]]
    assert seen(np.array([[[-1.0, 0.0, 1.0]]]), "normal").tolist() == [[[0, 128, 255]]]


def test_near_is_bright_and_holes_are_no_gray():
    depth = np.array([[[1.0, 1.0], [3.0, 1.0], [0.0, 0.0]]])
    near, far, hole = seen(depth, "depth")[0].tolist()
    assert near == [255] * 3
    assert far == [40] * 3
    assert hole == list(HOLE)
    assert seen(depth, "depth", (1.0, 5.0))[0, 1].tolist() == [148] * 3  # halfway: 40 + 215 / 2


def test_a_depth_without_any_measured_pixel_is_a_hole():
    assert (seen(np.zeros((2, 2, 2)), "depth") == HOLE).all()


def test_errors_go_from_white_to_dark():
    none, half, most, more = warm(np.array([[0.0, 0.5, 1.0, 9.0]]), 1.0)[0].tolist()
    assert none == [255] * 3
    assert half == [241, 105, 19]
    assert most == more == [80, 20, 0]


def test_colors_are_laid_over_gray():
    picture = np.full((1, 2, 3), 100, np.uint8)
    red = np.broadcast_to((255, 0, 0), (1, 2, 3))
    found = over(picture, red, np.array([[True, False]]), strength=0.5)
    assert found.tolist() == [[[178, 50, 50], [100, 100, 100]]]


@pytest.mark.parametrize(
    ("shape", "most", "small"), [((10, 6), 10, (10, 6)), ((10, 7), 5, (5, 4)), ((3, 9), 4, (1, 3))]
)
def test_a_smaller_picture_has_pixels_of_the_large_one(shape, most, small):
    pixels = np.arange(np.prod(shape)).reshape(shape)
    found = smaller(pixels, most)
    assert found.shape == small
    assert set(found.ravel()) <= set(pixels.ravel())


def test_a_picture_is_embedded_whole():
    pixels = np.zeros((2, 3, 3), np.uint8)
    assert base64.b64decode(data_url(pixels).partition(",")[2]) == png_of(pixels)
