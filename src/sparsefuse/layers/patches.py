"""Cuts raw frames (B, N, F) into flattened patches (B, N', F'); a Linear on these is a patch convolution.

A frame's F values are height x width x channels, flattened in that order. A patch is `time` frames deep (a tubelet;
Arnab et al. 2021) and `patch` values high and wide; patches stand by time, then row, then column. A spectrogram is a
picture of its bins over time: height = bins, width 1, so that its patches are `time` x `patch`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F

from sparsefuse.errors import unknown
from sparsefuse.layers.ops.tracing import all_real, exporting
from sparsefuse.tokens import Tokens

Patches = Mapping[str, Mapping[str, int]]
"""What methods take: {modality: {height: 224, width: 224, channels: 3, patch: 16, time: 2}}."""


@dataclass(frozen=True)
class Grid:
    """How the frames of one modality are cut."""

    height: int
    width: int = 1
    channels: int = 1
    patch: int = 16
    """side of a patch; along an axis of one value it is 1"""
    time: int = 1
    """frames of a patch; a tail of fewer frames is dropped"""

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a patch."""
        return (1 if self.height == 1 else self.patch), (1 if self.width == 1 else self.patch)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of patches in a frame."""
        high, wide = self.sides
        return self.height // high, self.width // wide

    @property
    def cells(self) -> int:
        """Patches of a frame."""
        rows, columns = self.shape
        return rows * columns

    @property
    def width_of_patch(self) -> int:
        """F', the values of a patch: time x side x side x channels."""
        high, wide = self.sides
        return self.time * high * wide * self.channels

    def tokens(self, length: int) -> int:
        """Number of patches of a clip of `length` frames, at least those of one tubelet."""
        return max(length // self.time, 1) * self.cells

    def cut(self, tokens: Tokens) -> Tokens:
        """Frames (B, N, F) -> patches (B, N', F'), N' = tubelets x cells.

        A patch is real if all its frames are. A sample with frames but without one whole patch gets one: the frames it
        has, the last one repeated. Padding may reach patches that are not real, and only those.
        """
        x, mask = tokens if self.time == 1 else _tubelets(tokens, self.time)
        (rows, columns), (high, wide) = self.shape, self.sides
        x = x.unflatten(1, (-1, self.time)).unflatten(3, (rows, high, columns, wide, self.channels))
        x = x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4).flatten(1, 3)  # (B, T, rows, columns, F') -> (B, N', F')
        return Tokens(x, mask.repeat_interleave(self.cells, 1))


def grids(patches: Patches | None, features: Mapping[str, int]) -> dict[str, Grid]:
    """Checked grids. Raises ValueError for an unknown modality or key, or sides that do not fit the frame."""
    keys = [field.name for field in fields(Grid)]
    checked = {}
    for name, options in (patches or {}).items():
        if name not in features:
            raise ValueError(f"patches: {unknown('modality', name, features)}")
        for key in options:
            if key not in keys:
                raise ValueError(f"patches of {name!r}: {unknown('key', key, keys)}")
        if "height" not in options:
            raise ValueError(
                f"patches of {name!r} lack height; got {dict(options)}, expected some of {', '.join(keys)}"
            )
        checked[name] = _checked(name, Grid(**options), features[name])
    return checked


def token_lengths(lengths: Mapping[str, int] | None, cut: Mapping[str, Grid]) -> dict[str, int] | None:
    """Frames per modality -> tokens per modality."""
    if lengths is None:
        return None
    return {name: cut[name].tokens(n) if name in cut else n for name, n in lengths.items()}


def _checked(name: str, grid: Grid, width: int) -> Grid:
    for field in fields(grid):
        if getattr(grid, field.name) < 1:
            raise ValueError(f"patches of {name!r}: {field.name} is {getattr(grid, field.name)}; expected 1 or more")
    values = grid.height * grid.width * grid.channels
    if values != width:
        raise ValueError(
            f"patches of {name!r}: {grid.height} x {grid.width} x {grid.channels} (height x width x channels) are "
            f"{values} values, but its frames have {width} features"
        )
    for axis, length, side in zip(("height", "width"), (grid.height, grid.width), grid.sides, strict=True):
        if length % side:
            near = min((d for d in range(1, length + 1) if length % d == 0), key=lambda d: abs(d - side))
            raise ValueError(
                f"patches of {name!r}: {axis} {length} is not a multiple of patch {side}; the nearest divisor is {near}"
            )
    return grid


def _tubelets(tokens: Tokens, time: int) -> Tokens:
    """Frames (B, N, F) cut or padded to T x `time` of them, and which of the T tubelets are real (B, T)."""
    x, mask = tokens
    length = x.shape[1]
    # torch.export specialises on a count of 1, so an exported model has two tubelets more, left empty.
    count = length // time + 2 if exporting() else max(length // time, 1)
    if exporting() or length < time:
        x, mask = F.pad(x, (0, 0, 0, 3 * time)), F.pad(mask, (0, 3 * time))
    elif all_real(mask):
        return Tokens(x[:, : count * time], mask[:, : count * time : time])
    complete = mask[:, : count * time].unflatten(1, (-1, time)).all(2)
    filled = ~complete.any(1, keepdim=True) & mask.any(1, keepdim=True) & (torch.arange(count, device=mask.device) == 0)
    order = mask.long().sort(dim=1, descending=True, stable=True).indices  # real frames first
    place = torch.arange(time, device=mask.device).minimum(mask.sum(1, keepdim=True).clamp_min(1) - 1)  # (B, time)
    frames = x.gather(1, order.gather(1, place)[..., None].expand(-1, -1, x.shape[2]))
    x = x[:, : count * time].unflatten(1, (-1, time))  # (B, T, time, F)
    return Tokens(torch.where(filled[..., None, None], frames[:, None], x).flatten(1, 2), complete | filled)
