"""A room's pictures agree with its geometry, with each other, and with what each stream is meant not to tell."""

import math

import numpy as np
import pytest

from sparsefuse.rooms import CLASSES, cloud, room, scene
from sparsefuse.rooms.camera import Camera, rays, to_pixels, to_world
from sparsefuse.rooms.draws import Draws
from sparsefuse.rooms.names import BALL, BOXES, CABINET, CRATE, CYLINDERS, DRUM, FLAT, OBJECTS, PICTURE, PILLAR
from sparsefuse.rooms.paints import PAINTS_OF, Paint
from sparsefuse.rooms.plan import BACK, Flat, Plan, Thing, plan
from sparsefuse.rooms.sensors import depth_picture
from sparsefuse.rooms.surfaces import shadows, surfaces

WHITE, RED = Paint("plain", 0.0, 1.0, 1.0, False), Paint("stripes", 0.0, 1.0, 1.0, False)
SEEDS = range(6)


def bare(things=(), flats=()):
    """A room of 4 x 4 x 3 metres, whose lamp hangs in the middle."""
    return Plan((-2.0, 0.0, 0.0), (2.0, 4.0, 3.0), (WHITE,) * 6, flats, things, (0.0, 2.0, 2.9), 0.2)


def level(x=0.0, y=1.0, z=1.5, size=33):
    """A camera that looks along y; its picture covers 45 degrees to each side."""
    K = np.array([[size / 2, 0, (size - 1) / 2], [0, size / 2, (size - 1) / 2], [0, 0, 1]], np.float32)
    pose = np.array([[1, 0, 0, x], [0, 0, 1, y], [0, -1, 0, z], [0, 0, 0, 1]], np.float32)
    return Camera(K, pose)


def test_depth_of_a_wall_ahead_is_its_distance_along_the_axis():
    seen = surfaces(bare(), camera := level(), rays(camera, 33, 33))
    depth, face = seen.depth.reshape(33, 33), seen.row.reshape(33, 33)
    assert face[16, 16] == BACK
    assert np.allclose(depth[face == BACK], 3.0)
    # the floor is 1.5 m below: the ray through row v falls (v - 16) / 16.5 a metre
    assert face[32, 16] == 4
    assert np.isclose(depth[32, 16], 1.5 * 16.5 / 16)
    assert face[0, 16] == 5
    assert np.isclose(depth[0, 16], 1.5 * 16.5 / 16)
    assert face[16, 0] == 0
    assert np.isclose(depth[16, 0], 2 * 16.5 / 16)
    assert face[16, 32] == 1
    assert np.isclose(depth[16, 32], 2 * 16.5 / 16)


def test_a_box_ahead_is_its_near_side_away():
    thing = Thing(CRATE, (0.0, 3.0, 1.0), (1.0, 1.0, 2.0), 0.0, WHITE)
    seen = surfaces(bare((thing,)), camera := level(), rays(camera, 33, 33))
    middle = 16 * 33 + 16
    assert np.isclose(seen.depth[middle], 1.5)
    assert seen.instance[middle] == 1
    assert np.allclose(seen.normal[:, middle], (0, -1, 0))


def test_a_ball_between_lamp_and_floor_throws_its_shadow_below():
    thing = Thing(BALL, (0.0, 2.0, 1.0), (0.6, 0.6, 0.6), 0.0, WHITE)
    planned = bare((thing,))
    seen = surfaces(planned, camera := level(y=0.1), rays(camera, 33, 33))
    to_lamp = np.array(planned.lamp, np.float32)[:, None] - seen.point
    far = np.linalg.norm(to_lamp, axis=0)
    dark = np.zeros(len(far), bool)
    dark[shadows(planned, seen, to_lamp / far, far, np.ones(len(far), bool))] = True
    # similar triangles: the ball's cone from 2.9 m up meets the floor within this radius
    edge = 2.9 * math.tan(math.asin(0.3 / 1.9))
    floor = (seen.row == 4) & (seen.instance == 0)
    away = np.hypot(seen.point[0], seen.point[1] - 2)
    assert dark[floor & (away < edge - 0.01)].all()
    assert (floor & (away < edge - 0.01)).sum() > 5
    assert not dark[floor & (away > edge + 0.01)].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_normals_are_unit_and_face_the_camera(seed):
    shown = room(seed, 48, 64)
    (fx, _, cx), (_, fy, cy), _ = shown.camera.K
    v, u = np.mgrid[:48, :64]
    towards = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones((48, 64))], -1)
    assert np.abs(np.linalg.norm(shown.normal, axis=-1) - 1).max() < 1e-4
    assert ((shown.normal * towards).sum(-1) < 1e-3).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_normals_are_those_of_the_depth_picture(seed):
    shown = room(seed)
    (fx, _, cx), (_, fy, cy), _ = shown.camera.K.astype(float)
    v, u = np.mgrid[:96, :96]
    points = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones((96, 96))], -1) * shown.depth[..., None].astype(float)
    across, down = np.diff(points, axis=1)[:-1], np.diff(points, axis=0)[:, :-1]
    normal = np.cross(down, across)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    agree = (normal * shown.normal[:-1, :-1]).sum(-1)
    same = np.ones((95, 95), bool)
    for move in ((0, 1), (1, 0)):
        other = shown.instance[move[0] : 95 + move[0], move[1] : 95 + move[1]]
        same &= other == shown.instance[:-1, :-1]
    assert np.mean(agree[same] > 0.99) > 0.93  # all but the room's corners and objects' edges


@pytest.mark.parametrize("seed", SEEDS)
def test_points_of_a_cloud_project_to_their_pixels(seed):
    shown = room(seed, 40, 48)
    points = cloud(shown, 500, seed=1)
    u, v, depth = to_pixels(shown.camera, points.xyz).T
    assert np.abs(u - np.rint(u)).max() < 1e-3
    assert np.abs(v - np.rint(v)).max() < 1e-3
    v, u = np.rint(v).astype(int), np.rint(u).astype(int)
    assert np.array_equal(shown.rgb[v, u], points.rgb)
    assert np.allclose(shown.sensor[v, u] / 1000, depth, atol=1e-4)
    assert points.xyz.shape == (500, 3)
    assert len(np.unique(u * 100 + v)) == 500


def test_a_cloud_of_two_views_has_points_of_both_in_one_world():
    views = [room(3, view=view) for view in range(2)]
    assert not np.array_equal(views[0].camera.pose, views[1].camera.pose)
    planned = plan(Draws(3))
    points = cloud(views, 4000)
    assert (points.xyz > np.array(planned.low) - 0.15).all()
    assert (points.xyz < np.array(planned.high) + 0.15).all()
    with pytest.raises(ValueError, match="a cloud needs a point or more"):
        cloud(views, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_views_agree_on_what_both_see(seed):
    one, other = room(seed), room(seed, view=1)
    v, u = np.mgrid[:96, :96].reshape(2, -1)
    points = to_world(one.camera, u, v, one.depth.ravel())
    column, line, depth = to_pixels(other.camera, points).T
    inside = (depth > 0.1) & (column > 0) & (column < 95) & (line > 0) & (line < 95)
    column, line = np.rint(column[inside]).astype(int), np.rint(line[inside]).astype(int)
    both = np.abs(other.depth[line, column] - depth[inside]) < 0.02
    assert both.sum() > 500
    for name in ("label", "instance"):
        mine = getattr(one, name).ravel()[inside]
        assert np.mean(getattr(other, name)[line, column][both] == mine[both]) > 0.95
    assert np.mean(np.abs(other.shade[line, column] - one.shade.ravel()[inside])[both] < 0.1) > 0.9


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("view", [0, 2])
def test_boxes_contain_the_points_of_their_instance_and_touch_them(seed, view):
    shown = room(seed, view=view)
    v, u = np.mgrid[:96, :96].reshape(2, -1)
    (fx, _, cx), (_, fy, cy), _ = shown.camera.K
    local = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(len(u))], 1) * shown.depth.reshape(-1, 1)
    world = local @ shown.camera.pose[:3, :3].T + shown.camera.pose[:3, 3]
    for centre, size, yaw, label, instance in zip(*shown.boxes, strict=True):
        place = shown.instance.ravel() == instance
        assert (shown.label.ravel()[place] == label).all()
        assert label in OBJECTS
        x, y, z = (world[place] - centre).T
        own = np.stack([x * np.cos(yaw) + y * np.sin(yaw), y * np.cos(yaw) - x * np.sin(yaw), z], 1)
        assert (np.abs(own) <= size / 2 + 2e-3).all()
        assert (np.abs(own) >= size / 2 - 0.05).any(1).mean() > (0.05 if label == BALL else 0.5)


def test_the_same_seed_is_the_same_scene_in_every_size():
    small, large = room(11, 32, 32), room(11, 64, 64)
    assert np.array_equal(small.camera.pose, large.camera.pose)
    kept = np.isin(large.boxes.instance, small.boxes.instance)
    assert np.array_equal(large.boxes.centre[kept], small.boxes.centre)
    assert np.mean(large.label[::2, ::2] == small.label) > 0.9
    for one, other in zip(room(11, 32, 32), small, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(room(12, 32, 32).label, small.label)


def without_flats(planned):
    return planned._replace(flats=tuple(flat._replace(half=(1e-6, 1e-6)) for flat in planned.flats))


def other_of_each_pair(planned):
    other = {CRATE: CABINET, CABINET: CRATE, DRUM: PILLAR, PILLAR: DRUM, BALL: BALL}
    black = [thing.paint.black for thing in planned.things]
    return planned._replace(
        things=tuple(
            thing._replace(label=other[thing.label], paint=WHITE._replace(black=dark))
            for thing, dark in zip(planned.things, black, strict=True)
        )
    )


@pytest.mark.parametrize("change", [without_flats, other_of_each_pair])
@pytest.mark.parametrize("seed", SEEDS)
def test_depth_knows_nothing_of_pictures_rugs_and_which_of_a_pair(change, seed, monkeypatch):
    """Bit by bit, with the sensor's noise and holes: there is nothing to learn from."""
    before = room(seed)
    monkeypatch.setattr(scene, "plan", lambda draws: change(plan(draws)))
    after = room(seed)
    for name in ("sensor", "depth", "normal", "shade", "instance"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name
    assert not np.isin(after.label, FLAT).any() or change is other_of_each_pair
    changed = np.isin(before.label, FLAT if change is without_flats else (*BOXES, *CYLINDERS))
    assert np.array_equal(before.label != after.label, changed)
    assert changed.any() == (not np.array_equal(before.rgb, after.rgb))


def test_each_stream_loses_places_and_objects_hide_in_the_walls_paint():
    rooms = [room(seed, 32, 32) for seed in range(30)]
    lost = np.mean([shown.sensor == 0 for shown in rooms])
    white = np.mean([(shown.rgb > 250).all(-1) for shown in rooms])
    dark = np.mean([shown.rgb.mean(-1) < 30 for shown in rooms])
    assert 0.05 < lost < 0.25
    assert 0.02 < white < 0.15
    assert 0.02 < dark < 0.2
    hidden = [
        thing for seed in range(60) for p in [plan(Draws(seed))] for thing in p.things if thing.paint == p.paints[BACK]
    ]
    assert len(hidden) > 30
    assert all(thing.paint.pattern in PAINTS_OF[thing.label] for thing in hidden)


def test_paints_tell_the_pairs_apart_that_shapes_do_not():
    for one, other in (BOXES, CYLINDERS):
        assert not set(PAINTS_OF[one]) & set(PAINTS_OF[other])
    shapes = {label: [] for label in OBJECTS}
    for seed in range(400):
        for thing in plan(Draws(seed)).things:
            shapes[thing.label].append(thing.size)
            assert thing.paint.pattern in PAINTS_OF[thing.label]
    for one, other in (BOXES, CYLINDERS):
        a, b = np.array(shapes[one]), np.array(shapes[other])
        spread = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b))
        assert (np.abs(a.mean(0) - b.mean(0)) < 3.5 * spread).all()


def test_every_class_is_seen_and_none_is_rare():
    shares = np.mean([np.bincount(room(seed, 24, 24).label.ravel(), minlength=10) / 576 for seed in range(60)], 0)
    assert len(CLASSES) == 10
    assert shares.min() > 0.008
    assert shares.max() < 0.6


def test_depth_is_measured_to_millimetres_but_not_on_black_paint():
    black = np.zeros(40 * 40, bool)
    black[:40] = True
    depth = np.linspace(1, 6, 1600, dtype=np.float32)
    shown = [depth_picture(Draws(seed), depth, black, 40, 40) for seed in range(8)]
    assert all((each[:40] == 0).all() for each in shown)
    error = np.concatenate([(each / 1000 - depth)[each > 0] / depth[each > 0] ** 2 for each in shown])
    assert abs(error.mean()) < 1e-4
    assert 0.0018 < error.std() < 0.0022


def test_a_disc_on_the_wall_is_round_and_a_rectangle_is_not():
    flats = (
        Flat(BACK, (0.0, 1.5), (0.5, 0.5), True, PICTURE, RED),
        Flat(BACK, (1.5, 1.5), (0.3, 0.5), False, PICTURE, RED),
    )
    seen = surfaces(bare(flats=flats), camera := level(size=65), rays(camera, 65, 65))
    away = np.hypot(seen.point[0], seen.point[2] - 1.5)
    assert np.array_equal(seen.row == 6, (away < 0.5) & (seen.point[1] > 3.99))
    assert np.array_equal(
        seen.row == 7, (abs(seen.point[0] - 1.5) < 0.3) & (abs(seen.point[2] - 1.5) < 0.5) & (seen.point[1] > 3.99)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 15, 96), "height and width must be 16 to 1024; got 15 x 96"),
        ((0, 96, 10**9), "height and width must be 16 to 1024; got 96 x 1000000000"),
        ((-1,), "seed and view must be 0 or more; got -1"),
    ],
)
def test_a_room_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        room(*arguments)
