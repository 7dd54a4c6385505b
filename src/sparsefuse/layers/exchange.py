"""TokenFusion's exchange of tokens between modalities, in parts (Wang et al. 2022, section 3)."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.tokens import State, Tokens


class Score(nn.Module):
    """A token's importance, in [0, 1]: (B, N, D) -> (B, N). Widths as released: D, D/2, D/4, 2, softmax."""

    def __init__(self, dim: int):
        super().__init__()
        widths = [dim, dim, max(dim // 2, 1), max(dim // 4, 1), 2]
        linears = [nn.Linear(a, b) for a, b in pairwise(widths)]
        for i, linear in enumerate(linears):
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            if i:  # GELU's outputs have a mean, which would bias the scores: they start spread around 1/2
                linear.weight.data -= linear.weight.data.mean(1, keepdim=True)
        hidden = [part for linear in linears[:-1] for part in (linear, nn.GELU())]
        self.layers = nn.Sequential(nn.LayerNorm(dim), *hidden, linears[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).softmax(-1)[..., 0]


class Projection(nn.Module):
    """Maps a donor's tokens into another modality's space: (B, N, D) -> (B, N, D), the paper's shallow h."""

    def __init__(self, dim: int):
        super().__init__()
        first, last = nn.Linear(dim, dim), nn.Linear(dim, dim)
        nn.init.kaiming_uniform_(first.weight, nonlinearity="linear")  # both inits keep the scale of a token
        nn.init.kaiming_uniform_(last.weight, nonlinearity="relu")
        self.layers = nn.Sequential(first, nn.ReLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def allot(num_slots: int, num_donors: int, generator: torch.Generator) -> Tensor:
    """Splits token slots at random into equal groups, one per donor (eq. 7) -> (num_slots,) the donor's number."""
    donor = torch.empty(num_slots, dtype=torch.uint8)
    donor[torch.randperm(num_slots, generator=generator)] = (torch.arange(num_slots) % num_donors).to(torch.uint8)
    return donor


def aligned(mask: Tensor, donor: Tensor) -> Tensor:
    """The donor's token at the same time as each token: masks (B, N) and (B, N'), CLS first -> index (B, N) into N'.

    Real token i of n is matched with real token floor((2 i + 1) n' / (2 n)) of n': the same place for equal lengths,
    the same share of the clip where they are not. Integers, so that padding changes nothing. CLS and tokens that are
    not there, and all where the donor is not there, get some index that exists.
    """
    real, donors = (mask > 0).long(), (donor > 0).long()
    count, num_donors = real[:, 1:].sum(1, keepdim=True), donors[:, 1:].sum(1, keepdim=True)  # (B, 1)
    place = (real.cumsum(1) - 2).clamp_min(0)  # (B, N) among the real tokens; CLS is none
    matched = (2 * place + 1) * num_donors // (2 * count).clamp_min(1)
    rank = (donors.cumsum(1) - 1).clamp_min(0)  # (B, N') CLS has 0, its first real token 1
    position = torch.arange(donor.shape[1], device=donor.device) * donors
    where = torch.zeros_like(rank).scatter_add(1, rank, position)  # (B, N') by rank
    return where.gather(1, torch.minimum(matched + 1, num_donors))


class Source(NamedTuple):
    """One donor's tokens for a stream."""

    place: Tensor
    """(B, N) index of the donor's token that may replace each token"""
    takes: Tensor
    """(B, N) bool: the token is assigned to this donor, and the sample has both"""

    def fetch(self, values: Tensor) -> Tensor:
        """The donor's values (B, N', D), or (B, N'), gathered for the stream's tokens."""
        if values.dim() == 2:
            return values.gather(1, self.place)
        return values.gather(1, self.place[..., None].expand(-1, -1, values.shape[2]))


class Donors(nn.Module):
    """Where the tokens of one stream come from when they are exchanged."""

    def __init__(self, names: tuple[str, ...], slots: Tensor, projections: list[nn.Module]):
        super().__init__()
        self.names = names
        self.register_buffer("slots", slots)  # the donor's number by slot
        self.slots: Tensor
        self.projections = nn.ModuleList(projections)

    def sources(self, mask: Tensor, streams: dict[str, Tokens]) -> list[Source]:
        """A source per donor, for a stream with `mask` (B, N). Slots beyond the table repeat it."""
        slot = torch.arange(mask.shape[1], device=mask.device) - 1  # CLS has none
        real = (mask > 0) & (slot >= 0)
        assigned = self.slots[slot % self.slots.shape[0]]  # (N,)
        sources = []
        for i, name in enumerate(self.names):
            donor = streams[name].mask
            there = (donor[:, 1:] > 0).any(1, keepdim=True)  # (B, 1)
            sources.append(Source(aligned(mask, donor), real & there & (assigned == i)))
        return sources

    def replace(
        self, own: Tensor, gone: Tensor, sources: list[Source], values: dict[str, Tensor], *, project: bool = False
    ) -> Tensor:
        """The stream's own values, with the donors' where `gone`: values (B, N, D) or (B, N), `gone` as it broadcasts.

        All donors give their values from before the exchange: two tokens that replace each other swap.
        """
        for name, source, projection in zip(self.names, sources, self.projections, strict=True):
            value = source.fetch(values[name])
            takes = source.takes if own.dim() == 2 else source.takes[..., None]
            own = torch.where(takes & gone, projection(value) if project else value, own)
        return own


class ExchangeCount:
    """Counts the tokens that a model's layers replace: a probe for its passes.

    A layer that replaces tokens has a method `exchanged(state)`, the (B, 1 + N) bool of its input's by modality.
    """

    def __init__(self, layers: Iterable[nn.Module]):
        self.layers = {depth: layer for depth, layer in enumerate(layers) if hasattr(layer, "exchanged")}
        self.counts = torch.zeros(len(self.layers), 2, dtype=torch.float64)
        """(layers, 2) tokens replaced, and tokens"""

    def __call__(self, depth: int, state: State) -> None:
        if depth in self.layers:
            replaced: dict[str, Tensor] = self.layers[depth].exchanged(state)  # pyright: ignore[reportCallIssue]
            masks = {name: state.streams[name].mask[:, 1:] > 0 for name in replaced}
            found = [(int((replaced[name][:, 1:] & mask).sum()), int(mask.sum())) for name, mask in masks.items()]
            self.counts[list(self.layers).index(depth)] += torch.tensor(found, dtype=torch.float64).sum(0)

    @property
    def shares(self) -> dict[str, float]:
        """The number of each such layer among the model's, from 1, and the share of tokens that it replaced."""
        replaced, tokens = self.counts.unbind(1)
        shares = (replaced / tokens.clamp_min(1)).tolist()
        return {str(depth + 1): share for depth, share in zip(self.layers, shares, strict=True)}


def check_penalties(score_penalty: float, channel_threshold: float | None, channel_penalty: float, shared: str) -> None:
    """Raises ValueError for options of an exchange that are out of range or contradict each other."""
    for option, value in (("score_penalty", score_penalty), ("channel_penalty", channel_penalty)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{option} must be a number from 0 up; got {value}")
    if channel_threshold is None:
        if channel_penalty:
            raise ValueError(f"channel_penalty={channel_penalty} needs channel_threshold, as in 0.02; got none")
        return
    if not channel_threshold >= 0:
        raise ValueError(f"channel_threshold must be a number from 0 up; got {channel_threshold}")
    if shared == "all":
        raise ValueError("channel_threshold compares streams by their own norms; with shared='all' they have one: "
                         "take shared='all_but_norm'")  # fmt: skip
