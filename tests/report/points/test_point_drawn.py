"""Boxes are drawn where they are: from above, and in pictures."""

import numpy as np
import pytest
import torch

from sparsefuse.layers.points.nouns import Camera
from sparsefuse.report.points.drawn import FINE, Outline, edges_in, from_above, on_picture

RED = (220, 0, 0)
K = torch.tensor([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
POSE = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
CAMERA = Camera(K, POSE, torch.tensor([48, 64]))
"""at 0, looks along y"""


def outline(*row, **changed):
    return Outline(np.array(row, float), RED, **changed)


def red(pixels):
    """Where boxes are drawn."""
    return (pixels[..., 0] > 180) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)


def test_a_box_is_drawn_around_its_points_from_above():
    x, y = (part.ravel() for part in np.meshgrid(np.linspace(-2, 2, 41), np.linspace(0, 4, 41)))
    xyz = np.stack([x, y, np.zeros_like(x)], 1)
    pixels = from_above(xyz, None, [outline(1, 3, 0.5, 1, 0.5, 1, 0)])
    rows, columns = red(pixels).nonzero()
    across = np.interp([columns.min(), columns.max()], [0, pixels.shape[1]], [-2.13, 2.13])
    up = np.interp([rows.max(), rows.min()], [0, pixels.shape[0]], [4.13, -0.13])
    np.testing.assert_allclose(across, [0.5, 1.5], atol=0.05)
    np.testing.assert_allclose(up, [2.75, 3.25], atol=0.05)


def test_a_turned_box_is_drawn_turned():
    xyz = np.array([[-2.0, 0, 0], [2, 4, 0]]).repeat(300, 0)
    rows, columns = red(from_above(xyz, None, [outline(0, 2, 0, 2, 1, 1, np.pi / 2)])).nonzero()
    assert np.ptp(rows) == pytest.approx(2 * np.ptp(columns), rel=0.05)


def test_true_boxes_outside_the_cloud_are_in_view():
    xyz = np.zeros((100, 3))
    assert red(from_above(xyz, None, [outline(9, 9, 0, 1, 1, 1, 0, dashed=True)])).any()


def test_edges_fall_where_the_camera_sees_them():
    lines = np.array(edges_in(CAMERA, np.array([0, 4, 0, 1, 2, 1, 0])))
    assert lines.shape == (12, 2, 2)
    near, far = 50 * 0.5 / 3, 50 * 0.5 / 5  # half the box, at 3 and 5 metres
    places = {(round(u, 3), round(v, 3)) for u, v in lines.reshape(-1, 2)}
    assert places == {
        (round(31.5 + a * half, 3), round(23.5 + b * half, 3)) for half in (near, far) for a in (-1, 1) for b in (-1, 1)
    }


def test_edges_that_pass_the_camera_are_cut():
    lines = edges_in(CAMERA, np.array([0, 0, 0, 1, 4, 1, 0]))  # the camera is in its middle
    assert len(lines) == 8  # without the four behind it
    assert np.isfinite(lines).all()
    assert not edges_in(CAMERA, np.array([0, -3, 0, 1, 1, 1, 0]))


def test_a_picture_shows_its_boxes():
    pixels = on_picture(np.full((48, 64, 3), 128, np.uint8), CAMERA, [outline(0, 4, 0, 1, 2, 1, 0, text="a 0.50")])
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(64 / 48, rel=0.01)
    scale = pixels.shape[1] / 64
    rows, columns = red(pixels).nonzero()
    assert columns.max() == pytest.approx(scale * (32 + 50 * 0.5 / 3), abs=2 * FINE)
    assert rows.max() == pytest.approx(scale * (24 + 50 * 0.5 / 3), abs=2 * FINE)
    assert rows.min() < scale * (24 - 50 * 0.5 / 3) - 6  # the text is above it
