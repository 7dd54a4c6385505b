"""Large pictures in overlapping tiles: a model of pictures of about one size in, its answer for a larger one out.

Where tiles overlap, their answers are averaged. The weight of each falls to 0 towards its edge, and is 0 in the
outermost quarter of the overlap: there a tile does not see what is around. So no seam shows.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.tokens import Field

Answer = Callable[[dict[str, Field]], Tensor]
"""Pictures (B, H, W, F) by stream -> (B, H, W, C), as large as they are."""


class Strip(NamedTuple):
    """Whole rows of an answer."""

    top: int
    values: Tensor
    """(B, rows, W, C)"""


def tiled(answer: Answer, fields: Mapping[str, Field], tile: tuple[int, int], overlap: float = 0.25) -> Tensor:
    """The answer (B, H, W, C) for pictures of any size; see `strips`."""
    return torch.cat([strip.values for strip in strips(answer, fields, tile, overlap)], dim=1)


def strips(
    answer: Answer, fields: Mapping[str, Field], tile: tuple[int, int], overlap: float = 0.25
) -> Iterator[Strip]:
    """The answer from top to bottom, in strips of as many rows as are finished: no more than a row of tiles of it is
    in memory, whatever the size of the pictures.

    `tile`: rows and columns of a tile; `overlap`: the least share of a tile that it has in common with the next.
    Pictures of one tile are answered as they are. Raises ValueError for an overlap that is not in (0, 0.5].
    """
    if not 0 < overlap <= 0.5:
        raise ValueError(f"overlap is {overlap}; expected more than 0 and at most 0.5")
    height, width = next(iter(fields.values())).mask.shape[1:]
    rows = [_Span(*span) for span in spans(height, tile[0], overlap)]
    columns = [_Span(*span) for span in spans(width, tile[1], overlap)]
    total = weight = None
    top = 0
    for i, down in enumerate(rows):
        for across in columns:
            part = {name: _cut(field, down, across) for name, field in fields.items()}
            values = answer(part)
            if len(rows) == len(columns) == 1:
                yield Strip(0, values)
                return
            if total is None or weight is None:
                total = values.new_zeros(len(values), min(tile[0], height), width, values.shape[3])
                weight = values.new_zeros(min(tile[0], height), width, 1)
            share = down.weights(height, values)[:, None, None] * across.weights(width, values)[:, None]
            total[:, :, across.start : across.end] += share * values
            weight[:, across.start : across.end] += share
        assert total is not None, "a picture has a tile"
        assert weight is not None, "and so a weight"
        done = (rows[i + 1].start if i + 1 < len(rows) else height) - top  # of the rows in `total`
        yield Strip(top, total[:, :done] / weight[:done])
        total, weight = _moved_up(total, done, 1), _moved_up(weight, done, 0)
        top += done


def spans(size: int, tile: int, overlap: float) -> list[tuple[int, int, int]]:
    """Start, end and overlap, in pixels, of the tiles along one side: evenly apart, the first at 0, the last at the
    end."""
    if size <= tile:
        return [(0, size, 0)]
    most = max(1, int(tile * (1 - overlap)))
    count = 1 + -(-(size - tile) // most)
    starts = [round(i * (size - tile) / (count - 1)) for i in range(count)]
    common = tile - max(b - a for a, b in itertools.pairwise(starts))
    return [(start, start + tile, common) for start in starts]


class _Span(NamedTuple):
    """A tile along one side."""

    start: int
    end: int
    common: int

    def weights(self, size: int, like: Tensor) -> Tensor:
        """(end - start): 0 to 1, falling to an edge that another tile overlaps."""
        places = torch.arange(self.end - self.start, dtype=like.dtype, device=like.device)
        margin = self.common // 4
        ramp = max(self.common - 2 * margin, 1)
        result = torch.ones_like(places)
        for inside, distance in ((self.start > 0, places), (self.end < size, places.flip(0))):
            if inside:
                result = result * ((distance + 0.5 - margin) / ramp).clamp(0, 1)
        return result


def _cut(field: Field, down: _Span, across: _Span) -> Field:
    return Field(*(part[:, down.start : down.end, across.start : across.end] for part in field))


def _moved_up(x: Tensor, count: int, dim: int) -> Tensor:
    """Without the first `count` rows, and zeros below."""
    rest = x.narrow(dim, count, x.shape[dim] - count)
    return torch.cat([rest, torch.zeros_like(x.narrow(dim, 0, count))], dim)
