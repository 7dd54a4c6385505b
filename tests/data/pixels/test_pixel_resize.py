"""Resizing by what a picture shows."""

import torch

from sparsefuse.data.pixels.resize import nearest, resized, resized_labels


def test_colours_are_the_mean_of_what_they_cover():
    x = torch.tensor([[0.0, 1, 0, 0], [1, 0, 0, 0]])[..., None].expand(2, 4, 3)
    y = resized(x, "color", 1, 2)
    # the antialiased triangle reaches into the neighbour: weights 1/7, 3/7 | 3/7 ... at the edge 3, 3, 1 of 7
    torch.testing.assert_close(y[0, :, 0], torch.tensor([3 / 7 / 2 + 3 / 7 / 2, 1 / 7 / 2]))


def test_a_hole_in_depth_does_not_smear():
    depth = torch.full((8, 8), 2.0)
    measured = torch.ones(8, 8)
    measured[:, :4] = 0
    y = resized(torch.stack([depth * measured, measured], -1), "depth", 4, 4)
    torch.testing.assert_close(y[..., 0], 2 * y[..., 1])  # 2 m wherever it is measured, and never between 0 and 2
    assert y[0, :, 1].tolist() == [0, 0, 1, 1]


def test_normals_keep_their_length():
    x = torch.zeros(4, 4, 3)
    x[:, :2, 0] = x[:, 2:, 1] = 1
    y = resized(x, "normal", 3, 3)
    torch.testing.assert_close(y.norm(dim=-1), torch.ones(3, 3))


def test_labels_are_those_of_the_nearest_centre():
    assert nearest(2, 4).tolist() == [1, 3]  # centres at 1 and 3 of 4
    assert nearest(4, 2).tolist() == [0, 0, 1, 1]
    labels = torch.arange(16).reshape(4, 4)
    assert resized_labels(labels, 2, 4).tolist() == [[4, 5, 6, 7], [12, 13, 14, 15]]


def test_a_picture_of_the_right_size_is_as_it_was():
    x = torch.rand(3, 5, 2)
    assert resized(x, "depth", 3, 5) is x
