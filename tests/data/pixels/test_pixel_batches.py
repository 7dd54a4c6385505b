"""Batches of scenes."""

import itertools

import torch

from sparsefuse.data.pixels.batches import batches, collate
from sparsefuse.data.pixels.scenes import Scene


def scene(id, height, width, *streams, target=None):
    fields = {name: torch.ones(height, width, 2) for name in streams}
    return Scene(id, fields, torch.full((height, width), 3) if target is None else target)


def test_smaller_pictures_are_padded_to_the_right_and_below():
    batch = collate([scene("a", 2, 3, "rgb"), scene("b", 4, 2, "rgb")], {"rgb": 2}, 255)
    assert batch.target.shape == (2, 4, 3)
    real = torch.zeros(2, 4, 3, dtype=torch.bool)
    real[0, :2, :3] = real[1, :4, :2] = True
    assert (batch.mask == real).all()
    assert (batch.fields["rgb"].mask == real).all()
    assert (batch.target == torch.where(real, 3, 255)).all()
    assert (batch.fields["rgb"].x == real[..., None].float()).all()


def test_a_stream_that_a_sample_lacks_is_masked():
    batch = collate([scene("a", 2, 2, "rgb"), scene("b", 2, 2, "depth")], {"depth": 2, "rgb": 2}, 255)
    assert list(batch.fields) == ["depth", "rgb"]
    assert [batch.fields[name].mask.any((1, 2)).tolist() for name in batch.fields] == [[False, True], [True, False]]
    assert not batch.fields["rgb"].x[1].any()


def test_a_target_that_is_not_known_is_masked():
    target = torch.tensor([[[0.5], [torch.nan]]])
    batch = collate([scene("a", 1, 2, "rgb", target=target), scene("b", 1, 1, "rgb", target=-torch.ones(1, 1, 1))],
                    {"rgb": 2}, 255)  # fmt: skip
    assert batch.mask.tolist() == [[[True, False]], [[True, False]]]
    assert batch.target.tolist() == [[[[0.5], [0]]], [[[-1], [0]]]]
    assert batch.fields["rgb"].mask.tolist() == [[[True, True]], [[True, False]]]


def test_an_epoch_has_each_sample_once_in_an_order_of_its_own():
    found = batches(10, 4, 7, 0)
    assert [len(batch) for batch in found] == [4, 4, 2]
    assert sorted(itertools.chain(*found)) == list(range(10))
    assert found == batches(10, 4, 7, 0)
    assert found != batches(10, 4, 7, 1)
    assert found != batches(10, 4, 8, 0)
