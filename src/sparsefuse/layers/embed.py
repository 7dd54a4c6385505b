"""Embeds raw features as streams of tokens: a projection, a CLS and a table of positions per modality."""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from sparsefuse.errors import unknown
from sparsefuse.layers.fused import run_embedding
from sparsefuse.layers.ops.tracing import all_real, exporting, watched
from sparsefuse.layers.options import check_choice
from sparsefuse.layers.patches import Grid, Patches, grids, token_lengths
from sparsefuse.layers.stem import Stem
from sparsefuse.layers.streams import zero_penalty
from sparsefuse.tokens import State, Tokens

Positions = Literal["learned", "sinusoidal"]


class Embed(nn.Module):
    """(B, N, F) features of each modality -> (B, 1 + N, D) tokens, CLS first.

    The mask of CLS says whether a sample has the modality; where it lacks it, nothing attends to that CLS.
    `lengths` gives the longest N per modality and makes positions learned, as published; without it they are sinusoids.
    With `keep_positions` they are a stream of their own too, `modality<-position`, detached. `position_scale` times the
    usual is what positions start as: N(0, 1), or sinusoids between -1 and 1.
    `patches` names modalities whose tokens are raw frames, and how they are cut (see `patches.Grid`).
    """

    def __init__(
        self,
        features: dict[str, int],
        dim: int,
        lengths: dict[str, int] | None = None,
        patches: Patches | None = None,
        *,
        keep_positions: bool = False,
        position_scale: float = 1.0,
    ):
        super().__init__()
        self.keep_positions, self.position_scale = keep_positions, position_scale
        self.features = {name: features[name] for name in sorted(features)}
        self.dim = dim
        self.grids = grids(patches, features)
        widths = [self.grids[n].width_of_patch if n in self.grids else width for n, width in self.features.items()]
        self.project = nn.ModuleList(nn.Linear(width, dim) for width in widths)
        self.cls = nn.ParameterList(torch.randn(dim) for _ in self.features)
        if lengths is not None:
            for name in self.features.keys() - lengths.keys():
                raise ValueError(f"lengths lacks modality {name!r}; it has {', '.join(lengths) or 'none'}")
        longest = token_lengths(lengths, self.grids)
        tables = (position_scale * torch.randn(longest[n] + 1, dim) for n in self.features if longest)
        self.position = nn.ParameterList(tables) if longest else None
        self.stems = nn.ModuleList()

    def set_positions(self, kind: Positions = "learned", scale: float = 1.0) -> None:
        """Positions start as `scale` times what they do; sinusoidal ones are not learned. Raises ValueError."""
        check_choice("pos_embed.kind", kind, Positions)
        if not 0 <= scale < math.inf:
            raise ValueError(f"pos_embed.scale is {scale}; expected a number, 0 or more")
        self.position_scale *= scale
        if kind == "sinusoidal":
            self.position = None
        for table in self.position or ():
            table.data.mul_(scale)

    def put_before(self, stems: Mapping[str, Stem], features: Mapping[str, int]) -> None:
        """From now on raw streams, of `features`, pass these stems first; this was built for what the stems make."""
        self.features = {name: features[name] for name in self.features}
        self.stems = nn.ModuleList(stems.get(name, nn.Identity()) for name in self.features)

    def forward(self, tokens: dict[str, Tokens]) -> State:
        """Raises ValueError for an unknown modality, a wrong width, or when no modality is given."""
        present = [self._checked(name, t) for name, t in tokens.items() if name in self.features]
        if not present:
            raise ValueError(
                f"the model needs at least one of {', '.join(self.features)}; got {', '.join(tokens) or 'none'}"
            )
        absent = present[0].x
        streams = {}
        for i, (name, width) in enumerate(self.features.items()):
            here = tokens.get(name)
            if here is None:
                here = Tokens(absent.new_zeros(absent.shape[0], 1, width), absent.new_zeros(absent.shape[0], 1).bool())
            x, position, mask = self._embed(i, here, self.grids.get(name))
            streams[name] = Tokens(x if position is None else x + position, mask)
            if position is not None and self.keep_positions:
                streams[f"{name}<-position"] = Tokens(position.detach().expand_as(x), mask)
        return State(streams, zero_penalty(absent))

    def _embed(self, i: int, tokens: Tokens, grid: Grid | None) -> tuple[Tensor, Tensor | None, Tensor]:
        """CLS and tokens (B, 1 + N, D), their positions (B or 1, 1 + N, D) if not yet added, their mask (B, 1 + N)."""
        if self.stems:
            tokens = self.stems[i](tokens)
        x, mask = tokens if grid is None else grid.cut(tokens)
        # Padding may hold anything, NaN too: it must not reach a product with a zero weight.
        if not all_real(mask):
            x = torch.where(mask[..., None], x, torch.zeros((), dtype=x.dtype, device=x.device))
        features, mask = x, torch.cat([mask.any(1, keepdim=True), mask], 1)
        if self.position is not None and grid is None and not self.keep_positions:
            x = run_embedding(features, self.project[i], self.cls[i], self.position[i])
            if x is not None:
                return x, None, mask
        x = self.project[i](features)
        x = torch.cat([self.cls[i].expand(x.shape[0], 1, -1).to(x.dtype), x], 1)
        if self.position is None:
            return x, self.position_scale * sinusoids(x.shape[1], self.dim, x), mask
        table = self.position[i]
        if grid is None:
            return x, table_rows(table, mask).to(x.dtype), mask
        rows = grid_rows(table[1:], mask[:, 1:], grid.cells)
        return x, torch.cat([table[:1].expand(rows.shape[0], 1, -1), rows], 1).to(x.dtype), mask

    def _checked(self, name: str, tokens: Tokens) -> Tokens:
        width = self.features[name]
        if tokens.x.shape[-1] != width:
            raise ValueError(f"modality {name!r} must have {width} features; got x of shape {tuple(tokens.x.shape)}")
        return tokens


def table_rows(table: Tensor, mask: Tensor) -> Tensor:
    """Rows of `table` (T, D) for the positions under `mask` (B, N) -> (B or 1, N, D).

    A sample longer than the table is mapped onto it by linear interpolation over its real length; others keep
    whole positions, so padding changes nothing.
    """
    length = mask.shape[1]
    open_ended = exporting() and not isinstance(length, int)  # an exported model must hold for both cases
    if not open_ended and length <= table.shape[0]:
        return table[None, :length]
    return stretched_rows(table, mask)


def stretched_rows(table: Tensor, mask: Tensor) -> Tensor:
    """`table_rows` for any lengths, by interpolation: (B, N, D)."""
    last = table.shape[0] - 1
    real = mask.sum(1, keepdim=True).clamp_min(2) - 1  # (B, 1) last real position
    place = torch.arange(mask.shape[1], device=mask.device) * (last / real.clamp_min(last))  # (B, N)
    place = place.clamp_max(last)
    low = place.floor().long()
    high = (low + 1).clamp_max(last)
    share = (place - low)[..., None].to(table.dtype)
    return table[low] * (1 - share) + table[high] * share


def grid_rows(table: Tensor, mask: Tensor, cells: int) -> Tensor:
    """Rows of a grid of positions `table` (T * cells, D) for patches under `mask` (B, N') -> (B or 1, N', D).

    A clip with more patches along time than the grid is mapped onto it along time, cell by cell.
    """
    times, table = mask[:, ::cells], table.unflatten(0, (-1, cells)).flatten(1)  # (B, T'), (T, cells * D)
    # An exported model has an empty patch more in time, so its number of rows does not tell which case it is.
    rows = stretched_rows(table, times) if exporting() else table_rows(table, times)
    return rows.unflatten(2, (cells, -1)).flatten(1, 2)


def sinusoids(length: int, dim: int, like: Tensor) -> Tensor:
    """(1, N, D) fixed positions of Vaswani et al. 2017, sine half then cosine half."""
    half = (dim + 1) // 2
    rates = torch.exp(torch.arange(half, device=like.device) * (-math.log(10_000.0) / half))
    angles = torch.arange(length, device=like.device)[:, None] * rates  # (N, D/2)
    return torch.cat([angles.sin(), angles.cos()], -1)[None, :, :dim].to(like.dtype)


def with_masks(tokens: Mapping[str, Tokens | Tensor]) -> dict[str, Tokens]:
    """Plain tensors (B, N, F) as Tokens that are all real."""
    return {
        name: Tokens(x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)) if isinstance(x, Tensor) else x
        for name, x in tokens.items()
    }


def check_tokens(tokens: dict[str, Tokens], features: dict[str, int], dtype: torch.dtype) -> None:
    """Raises ValueError, naming the modality, for one the model was not built with, and for what is no batch of it;
    `dtype` is that of the weights."""
    for name, given in tokens.items():
        if name not in features:
            raise ValueError(unknown("modality", name, features))
        if not isinstance(given, Tokens) or not all(isinstance(part, Tensor) for part in given):
            kind = type(given).__name__
            if isinstance(given, Tokens):
                kind += f" of {type(given.x).__name__}, {type(given.mask).__name__}"
            raise ValueError(
                f"modality {name!r} is {kind}; expected a tensor (B, N, {features[name]}), or Tokens(x, mask) of two "
                "(torch.from_numpy makes one of an array)"
            )
        x, mask = given
        if torch.compiler.is_compiling():  # its sizes are no numbers
            continue
        numbers = x.is_floating_point() and (x.dtype != torch.float64 or x.dtype == dtype)
        if x.ndim != 3 or not numbers or mask.dtype != torch.bool or mask.shape != x.shape[:2]:
            raise ValueError(
                f"modality {name!r}: expected x (B, N, {features[name]}) {dtype} and mask (B, N) torch.bool; got "
                f"x {tuple(x.shape)} {x.dtype}, mask {tuple(mask.shape)} {mask.dtype}"
            )
    if not torch.compiler.is_compiling() and len({given.x.shape[0] for given in tokens.values()}) > 1:
        sizes = ", ".join(f"{name} {given.x.shape[0]}" for name, given in tokens.items())
        raise ValueError(f"modalities have batches of different sizes: {sizes}")


def check_present(tokens: dict[str, Tokens]) -> None:
    """Raises ValueError for a clip without any real token; not where finding out is costly (see `all_real`)."""
    masks = [given.mask for given in tokens.values()]
    if not masks or any(watched(mask) or mask.device.type != "cpu" for mask in masks):
        return
    if any(mask.shape[1] and all_real(mask) for mask in masks):
        return
    there = torch.stack([mask.any(1) for mask in masks]).any(0)
    if not there.all():
        raise ValueError(f"clip {int(there.logical_not().nonzero()[0])} of the batch has no token: all are masked")


def check_free(names: Iterable[str]) -> None:
    """Raises ValueError if a modality has the name of a stream that methods create."""
    for name in names:
        if name in ("fused", "bottleneck") or "<-" in name:
            raise ValueError(f"modality {name!r} has the name of a stream inside the model; rename it")
