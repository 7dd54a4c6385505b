"""Patterns by hand, tones by the standard library, and numbers that are what they say."""

import colorsys

import numpy as np
import pytest

from sparsefuse.rooms.draws import Draws
from sparsefuse.rooms.paints import HUE, PATTERNS, Paint, pattern_of, tones


@pytest.mark.parametrize(
    ("pattern", "on", "off"),
    [
        ("stripes", [(0.1, 0.5), (0.9, 0.1), (1.1, 7.0), (-0.1, 0.0)], [(0.5, 0.0), (0.3, 0.9), (2.7, 0.0)]),
        ("checks", [(0.1, 0.5), (0.5, 0.1), (1.5, 3.0)], [(0.1, 0.1), (0.5, 0.5), (2.0, 3.0)]),
        ("dots", [(0.5, 0.5), (0.5, 0.75), (3.3, -0.5)], [(0.0, 0.0), (0.1, 0.5), (0.8, 0.8)]),
        ("waves", [(0.0, 0.1), (0.5, 0.9), (0.25, 0.7)], [(0.0, 0.5), (0.25, 0.2), (0.75, 0.8)]),
        ("plain", [], [(0.1, 0.1), (0.5, 0.5)]),
    ],
)
def test_patterns_are_on_where_they_should_be(pattern, on, off):
    paints = [Paint(pattern, 0, 1, 1.0, False), Paint(pattern, 0, 1, 2.0, False)]
    for row, shrunk in ((0, 1.0), (1, 0.5)):  # twice as often: the same at half the distance
        x, y = shrunk * np.array(on + off, np.float32).T
        found = pattern_of(paints, np.full(len(x), row), x, y, np.zeros(len(x), np.float32))
        assert found.tolist() == [1.0] * len(on) + [0.0] * len(off)


def test_a_pattern_finer_than_a_pixel_fades_to_grey():
    x = np.linspace(0, 3, 50, dtype=np.float32)
    found = pattern_of([Paint("stripes", 0, 1, 1.0, False)], np.zeros(50, int), x, x, np.full(50, 10, np.float32))
    assert (np.abs(found - 0.5) < 0.03).all()


def test_tones_are_hues_of_the_colour_wheel():
    paints = [Paint(pattern, HUE[pattern], 0.8, 1.0, False) for pattern in PATTERNS]
    off, on = tones(paints)
    for number, paint in enumerate(paints):
        assert np.allclose(on[:, number], colorsys.hsv_to_rgb(paint.hue, 0.8, 0.8), atol=1e-5)
        assert np.allclose(off[:, number], colorsys.hsv_to_rgb(paint.hue, 0.4, 0.44), atol=1e-5)
    dark = tones([paints[0]._replace(black=True)])
    assert np.allclose(dark, 0.12 * tones(paints[:1]), atol=1e-6)


def test_draws_are_even_and_noise_has_unit_deviation():
    draws = Draws(1, 2)
    shares = np.array([draws.share() for _ in range(2000)])
    assert shares.min() >= 0
    assert shares.max() < 1
    assert np.allclose(np.histogram(shares, 4, (0, 1))[0], 500, atol=80)
    counts = np.bincount([draws.one((0, 1, 2)) for _ in range(900)])
    assert np.allclose(counts, 300, atol=60)
    noise = draws.noise(3, 10001)
    assert noise.shape == (3, 10001)
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    assert abs(np.corrcoef(noise)[0, 1]) < 0.04
    assert abs(np.corrcoef(noise[0, 1:], noise[0, :-1])[0, 1]) < 0.04
    assert Draws(1, 2).share() == shares[0] != Draws(2, 1).share()
