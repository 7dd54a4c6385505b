"""What seeds, candidates and pictures should say, by hand; and the release's faults, which are not ours."""

import math

import pytest
import torch

from sparsefuse.layers.points.boxes import iou, rows
from sparsefuse.layers.points.nouns import Boxes, Camera, Cloud
from sparsefuse.layers.points.targets import flat_targets, owners, wanted
from sparsefuse.layers.points.views import pixels_at, tokens_at, views_of
from sparsefuse.tokens import Tokens


def boxes(entries):
    """One scene's: rows of 7 and a label."""
    box = torch.tensor([row for row, _ in entries], dtype=torch.float32).view(1, -1, 7)
    label = torch.tensor([[label for _, label in entries]])
    ones = torch.ones(1, len(entries))
    return Boxes(box[..., :3], box[..., 3:6], box[..., 6], label, ones, ones.bool())


def points(*places):
    xyz = torch.tensor([places], dtype=torch.float32)
    return Cloud(xyz, xyz[..., :0], torch.ones(xyz.shape[:2], dtype=torch.bool))


LONG = ([0, 0, 0, 4, 1, 2, math.pi / 4], 1)
"""along the diagonal"""


def test_points_belong_to_the_turned_box_they_are_in():
    some = points([1.2, 1.2, 0], [1.2, -1.2, 0], [0, 0, 0.9], [0, 0, 1.04], [0, 0, 1.2], [0.3, 0.3, 0])
    some = some._replace(mask=torch.tensor([[True] * 5 + [False]]))
    owner = owners(some, boxes([LONG]))
    assert owner.inside.tolist() == [[True, False, True, True, False, False]]
    torch.testing.assert_close(owner.apart[0, 0, 0], torch.tensor(2 * 1.2**2 / 16))


def test_of_boxes_around_a_point_it_is_the_one_with_the_nearest_middle():
    table, cup = ([0, 0, 0, 2, 2, 2, 0], 0), ([0, 0, 0.9, 0.4, 0.4, 0.4, 0], 1)
    owner = owners(points([0, 0, 0.85], [0, 0, 0.2], [3, 0, 0]), boxes([table, cup]))
    assert owner.box[0, :2].tolist() == [1, 0]
    assert owner.inside[0].tolist() == [True, True, False]


def test_the_nearest_points_of_each_box_are_those_to_choose():
    places = [[0.1 * i, 0, 0] for i in (5, 1, 3, 2, 4)] + [[9, 0, 0], [5, 5, 5]]
    owner = owners(points(*places), boxes([([0, 0, 0, 2, 2, 2, 0], 0), ([9, 0, 0, 1, 1, 1, 0], 0)]))
    assert owner.nearest(3)[0].tolist() == [False, True, True, True, False, True, False]


@pytest.mark.parametrize("count", [0, 1, 64, 90])
def test_every_box_of_a_scene_is_followed_however_many_there_are(count):
    """Of a scene with 64 boxes, the most it had room for, the release follows none."""
    entries = [([i, 0, 0, 0.5, 0.5, 0.5, 0], i % 3) for i in range(count)]
    seeds = points(*[[i, 0, 0] for i in range(100)])
    numbers = torch.arange(100)[None]
    if not count:
        none = boxes([LONG])._replace(mask=torch.zeros(1, 1, dtype=torch.bool))
        assert wanted(owners(seeds, none), numbers, seeds.mask, none).object.sum() == 0
        return
    known = boxes(entries)
    want = wanted(owners(seeds, known), numbers, seeds.mask, known)
    assert want.object[0].tolist() == [1] * count + [0] * (100 - count)
    assert want.label[0, :count].tolist() == [i % 3 for i in range(count)]
    views = looking_down(100)
    shown = flat_targets(views, known)[0]
    assert len(shown.label) == count


def test_sizes_are_those_of_the_turned_box():
    """The release has the extents along the axes, of a box that is predicted turned: then the right box is wrong."""
    known, seeds = boxes([LONG]), points([0, 0, 0])
    want = wanted(owners(seeds, known), torch.zeros(1, 1, dtype=torch.long), seeds.mask, known)
    assert want.size[0, 0].tolist() == [4, 1, 2]
    said = torch.cat([want.centre, want.size, want.yaw[..., None]], 2)[0]
    assert float(iou(said, rows(known)[0])) == pytest.approx(1)
    side = (4 + 1) / math.sqrt(2)
    released = torch.tensor([[0, 0, 0, side, side, 2, math.pi / 4]])
    assert float(iou(released, rows(known)[0])) < 0.35


def looking_down(width):
    """A picture of x from -0.5 on, 4 m above, 1 m a pixel there."""
    pose = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 4], [0, 0, 0, 1]])
    camera = Camera(torch.tensor([[4.0, 0, 0], [0, 4, 2], [0, 0, 1]]), pose, torch.tensor([5, width]))
    views = views_of(torch.zeros(1, 1, 5, width, 3), Camera(*(part[None, None] for part in camera)))
    assert views is not None
    return views


def test_what_pictures_show_is_the_part_of_a_box_that_is_in_them():
    known = boxes([([9, 0, 0, 2, 2, 2, 0], 0), ([20, 0, 0, 2, 2, 2, 0], 1), ([3, 0, 0, 2, 2, 2, 0], 2)])
    label, box = flat_targets(looking_down(10), known)[0]
    assert label.tolist() == [0, 2]
    # the upper face is nearer: 4 / 3 pixels a metre, the lower has 4 / 5
    low, high = (3 - 1) * 4 / 5, (3 + 1) * 4 / 3
    tall = (2 - 4 / 3, 2 + 4 / 3)
    expected = [(low + high + 1) / 20, (sum(tall) + 1) / 10, (high - low) / 10, (tall[1] - tall[0]) / 5]
    torch.testing.assert_close(box[1], torch.tensor(expected))
    low = (9 - 1) * 4 / 5
    torch.testing.assert_close(box[0, 0] + box[0, 2] / 2, torch.tensor(1.0))
    torch.testing.assert_close(box[0, 0] - box[0, 2] / 2, torch.tensor((low + 0.5) / 10))


def numbered(rows, columns, patch, sizes):
    """Views of pictures whose tokens hold their number; the first is for all."""
    count = len(sizes)
    pose = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]]).repeat(1, count, 1, 1)
    K = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]).repeat(1, count, 1, 1)
    views = views_of(torch.zeros(1, count, rows, columns, 3), Camera(K, pose, torch.tensor([sizes])))
    assert views is not None
    grid = (rows // patch, columns // patch)
    x = torch.arange(1.0 + grid[0] * grid[1]).repeat(len(views.scene), 1)[..., None]
    x = x + 1000 * torch.arange(len(views.scene))[:, None, None]
    return views._replace(tokens=Tokens(x, torch.ones(x.shape[:2], dtype=torch.bool)), grid=grid, patch=patch)


def at(*pixels):
    """Points one metre before the camera of `numbered`, which fall on these columns and rows."""
    return torch.tensor([[[u, 1.0, -v] for u, v in pixels]])


def test_points_read_the_patch_that_they_fall_in():
    views = numbered(530, 730, 16, [(530, 730)])
    inside = at((0, 0), (15.4, 0), (15.6, 0), (0, 16), (719, 527))
    assert tokens_at(views, inside)[0][0, :, 0].tolist() == [1, 1, 2, 1 + 45, 33 * 45]


def test_points_beyond_the_last_whole_patch_read_the_last():
    """Of 530 rows and 730 columns 528 and 720 fill patches of 16; the release's number of row 529 is none of a patch,
    and that of column 729 is one of the row below."""
    views = numbered(530, 730, 16, [(530, 730)])
    value, seen = tokens_at(views, at((729, 0), (0, 529), (729, 529), (731, 0), (0, -1)))
    assert value[0, :3, 0].tolist() == [45, 32 * 45 + 1, 33 * 45]
    assert seen[0].tolist() == [True, True, True, False, False]
    small = numbered(32, 64, 16, [(20, 50)])  # a picture that is padded has patches of its own
    assert tokens_at(small, at((49, 19)))[0][0, 0, 0] == 3


def test_a_resized_picture_is_read_at_the_same_place():
    """The release resizes the picture and leaves the camera: its points read other places."""
    views = numbered(64, 64, 16, [(64, 64)])
    small = views.camera.resized(32, 32)
    half = numbered(32, 32, 8, [(32, 32)])._replace(camera=small)
    places = at(*[(8 + 16 * i, 8 + 16 * k) for i in range(4) for k in range(4)])
    assert tokens_at(half, places)[0].equal(tokens_at(views, places)[0])
    kept = half._replace(camera=half.camera._replace(K=views.camera.K))
    assert not tokens_at(kept, places)[0].equal(tokens_at(views, places)[0])
    with pytest.raises(ValueError, match="resize the cameras with them"):
        views_of(torch.zeros(1, 1, 32, 32, 3), Camera(*(part[None] for part in views.camera)))


def test_what_several_pictures_show_is_their_mean():
    views = numbered(16, 32, 16, [(16, 32), (16, 16), (0, 0)])
    value, seen = tokens_at(views, at((0, 0), (20, 0), (40, 0)))
    assert value[0, :, 0].tolist() == [1 + 1000 / 2, 2, 0]  # both; the first; none
    assert seen[0].tolist() == [True, True, False]


def test_pixels_are_read_between_their_neighbours_and_never_from_padding():
    views = numbered(4, 6, 1, [(3, 5)])
    v, u = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    maps = torch.stack([u, v])[None]
    maps[:, :, 3] = maps[:, :, :, 5] = 99
    shown, seen = pixels_at(views, maps, at((0, 0), (1.25, 0.5), (4.4, 2.3), (4.6, 0)))
    torch.testing.assert_close(shown[0, :3], torch.tensor([[0, 0], [1.25, 0.5], [4, 2]]))
    assert seen[0].tolist() == [True, True, True, False]
