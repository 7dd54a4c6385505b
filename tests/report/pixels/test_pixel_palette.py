"""Classes have colors that differ, and keep them."""

import numpy as np

from sparsefuse.report.pixels.palette import MOST, UNKNOWN, colored, hexadecimal, palette


def test_colors_differ_and_do_not_depend_on_their_number():
    colors = palette(MOST)
    assert len(set(colors)) == MOST
    assert palette(5) == colors[:5]
    assert palette(MOST + 3)[MOST:] == colors[:3]


def test_the_first_colors_are_far_apart():
    colors = np.array(palette(12), float)
    distances = np.linalg.norm(colors[:, None] - colors, axis=2) + 1e3 * np.eye(12)
    assert distances.min() > 60


def test_what_is_no_class_is_gray():
    one, two = palette(2)
    found = colored(np.array([[0, 1], [255, -1]]), 2)
    assert found.dtype == np.uint8
    assert found.tolist() == [[list(one), list(two)], [list(UNKNOWN)] * 2]
    assert hexadecimal((255, 0, 16)) == "#ff0010"
