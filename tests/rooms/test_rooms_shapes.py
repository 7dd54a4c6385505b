"""Rays against shapes: as small steps along them find it."""

import math

import numpy as np
import pytest

from sparsefuse.rooms.shapes import ball, box, cylinder

SIZE, YAW, RADIUS, HEIGHT = (0.8, 0.5, 1.2), 0.6, 0.4, 1.0


def in_box(p):
    x, y, z = p
    c, s = math.cos(YAW), math.sin(YAW)
    return (abs(c * x + s * y) <= SIZE[0] / 2) & (abs(c * y - s * x) <= SIZE[1] / 2) & (abs(z) <= SIZE[2] / 2)


def in_cylinder(p):
    return (np.hypot(p[0], p[1]) <= RADIUS) & (abs(p[2]) <= HEIGHT / 2)


def in_ball(p):
    return np.linalg.norm(p, axis=0) <= RADIUS


SHAPES = {
    "box": (lambda o, d: box(o, d, SIZE, YAW), in_box),
    "cylinder": (lambda o, d: cylinder(o, d, RADIUS, HEIGHT), in_cylinder),
    "ball": (lambda o, d: ball(o, d, RADIUS), in_ball),
}


@pytest.fixture
def rays():
    random = np.random.default_rng(0)
    o = random.normal(size=(3, 200))
    o *= 2 / np.linalg.norm(o, axis=0)
    d = random.uniform(-0.7, 0.7, (3, 200)) - o  # towards some point near the middle
    return o.astype(np.float32), d.astype(np.float32)


@pytest.mark.parametrize("name", SHAPES)
def test_rays_meet_a_shape_where_small_steps_enter_it(name, rays):
    hit, inside = SHAPES[name]
    found = hit(*rays)
    steps = np.arange(0, 2, 0.002)
    within = inside(rays[0][:, :, None] + steps * rays[1][:, :, None])  # (rays, steps)
    first = np.where(within.any(1), steps[within.argmax(1)], np.inf)
    met = np.isfinite(found.t)
    assert 40 < met.sum() < 190
    differ = met != np.isfinite(first)
    assert differ.sum() <= 3  # a corner that is shorter than a step
    both = met & np.isfinite(first)
    assert np.abs(found.t[both] - first[both]).max() <= 0.0021


@pytest.mark.parametrize("name", SHAPES)
def test_normals_are_unit_and_point_out(name, rays):
    hit, inside = SHAPES[name]
    found = hit(*rays)
    met = np.isfinite(found.t)
    point, normal = (rays[0] + found.t * rays[1])[:, met], found.normal[:, met]
    assert np.abs(np.linalg.norm(normal, axis=0) - 1).max() < 1e-5
    assert inside(point - 1e-3 * normal).mean() > 0.98  # not at an edge
    assert not inside(point + 1e-3 * normal).any()
    assert ((normal * rays[1][:, met]).sum(0) < 1e-6).all()


@pytest.mark.parametrize("name", SHAPES)
def test_what_lies_behind_is_not_met(name, rays):
    hit, _ = SHAPES[name]
    assert np.isinf(hit(rays[0], -rays[1]).t).all()
