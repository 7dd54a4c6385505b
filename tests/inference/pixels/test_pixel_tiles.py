"""Tiles give what the whole picture gives, where a model sees no further than the tiles overlap."""

import pytest
import torch
import torch.nn.functional as F

from sparsefuse.inference.pixels.tiles import spans, strips, tiled
from sparsefuse.tokens import Field


def picture(height, width, channels=2, batch=1):
    x = torch.randn(batch, height, width, channels, generator=torch.Generator().manual_seed(0))
    return {"color": Field(x, torch.ones(batch, height, width, dtype=torch.bool))}


def identity(fields):
    return fields["color"].x


def blurred(fields):
    """The mean of 5 x 5 pixels; what is outside counts as 0."""
    x = fields["color"].x.movedim(3, 1)
    return F.avg_pool2d(x, 5, 1, padding=2).movedim(1, 3)


@pytest.mark.parametrize("size", [(64, 64), (65, 127), (33, 40), (200, 33), (32, 32), (7, 5)])
@pytest.mark.parametrize("answer", [identity, blurred])
def test_a_local_model_gives_the_same_as_untiled(size, answer):
    fields = picture(*size, batch=2)
    torch.testing.assert_close(tiled(answer, fields, (32, 32)), answer(fields), atol=1e-6, rtol=0)


def test_a_constant_stays_constant():
    fields = picture(91, 77)
    found = tiled(lambda part: torch.full_like(part["color"].x, 3.0), fields, (32, 24), overlap=0.5)
    torch.testing.assert_close(found, torch.full((1, 91, 77, 2), 3.0))


def test_tiles_that_disagree_are_blended_without_a_seam():
    """Tile k answers k: between neighbours the answer rises by small steps."""
    count = iter(range(100))
    found = tiled(lambda part: torch.full_like(part["color"].x, float(next(count))), picture(32, 80), (32, 32), 0.5)
    steps = found[0, 0, :, 0].diff()
    assert found[0, 0, 0, 0] == 0
    assert found[0, 0, -1, 0] == 3
    assert (steps >= 0).all()
    assert steps.max() < 0.2


def test_no_part_that_the_model_sees_is_larger_than_a_tile():
    seen = []

    def answer(part):
        seen.append(part["color"].mask.shape)
        return part["color"].x

    parts = list(strips(answer, picture(100, 90), (32, 48)))
    assert {shape[1:] for shape in seen} == {(32, 48)}
    assert max(part.values.shape[1] for part in parts) <= 32
    assert [part.top for part in parts] == [0, *torch.tensor([p.values.shape[1] for p in parts]).cumsum(0)[:-1]]


def test_spans_cover_a_side_evenly():
    assert spans(10, 16, 0.25) == [(0, 10, 0)]
    assert spans(40, 16, 0.25) == [(0, 16, 4), (12, 28, 4), (24, 40, 4)]
    assert spans(41, 16, 0.25) == [(0, 16, 7), (8, 24, 7), (17, 33, 7), (25, 41, 7)]


@pytest.mark.parametrize("overlap", [0, 0.6, -1])
def test_an_overlap_that_leaves_gaps_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap is"):
        list(strips(identity, picture(40, 40), (16, 16), overlap))
