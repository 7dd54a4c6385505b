"""Multimodal manifold mixup (SFT section 3.4): the hidden states of two samples are blended at a random depth.

There is one rule: every stream present at that depth has its own lambda, the labels get the mean (eqs. 10-11). Once the
modalities are joined only one stream is left, and the rule is eqs. 8-9. Streams that belong to no single modality
(bottlenecks, `target<-source`) take the mean while there are modality streams beside them.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sparsefuse.tokens import State, Tokens

LEAST = 1e-3

Places = Literal["manifold", "every_layer", "input"]


class Mix(NamedTuple):
    """One draw: at which depth to blend, with which partner, and in which shares."""

    depth: int
    partner: Tensor
    """(B,) index of each sample's partner in the batch."""
    lam: dict[str, Tensor]
    """(B,) per stream: the share of the sample itself."""
    label: Tensor
    """(B,) the share of the sample's own label."""
    shares: dict[str, Tensor] = {}  # noqa: RUF012  # never changed
    """(B,) per modality: the sample's own share of the label for a head that reads this modality alone."""


class Plan(NamedTuple):
    """What mixup needs to know of a model: the names of the streams after each layer."""

    modalities: tuple[str, ...]
    streams: tuple[tuple[str, ...], ...]
    """by depth, 0 = after the embedding; see `FusionModel.stream_names`"""
    blocks: tuple[int, ...] = ()
    """the depths after a transformer block, the paper's 1 .. L + T; none = every depth from 1"""


def draw(
    tokens: dict[str, Tokens],
    plan: Plan,
    *,
    alpha: float,
    generator: torch.Generator,
    at: Places = "manifold",
) -> Mix:
    """Draws a depth, one partner per sample and a lambda ~ Beta(alpha, alpha) per sample and stream.

    `manifold` draws from the depths after blocks, `every_layer` from 1 .. last. `input` is depth 0: the embedding is
    linear, so its blend is that of the inputs.
    """
    first = next(iter(tokens.values())).x
    places: Sequence[int] = range(1, len(plan.streams))
    if at == "manifold" and plan.blocks:
        places = plan.blocks
    depth = 0 if at == "input" else places[int(torch.randint(len(places), (), generator=generator))]
    partner = torch.randperm(first.shape[0], generator=generator).to(first.device)
    own = [name for name in plan.modalities if name in plan.streams[depth]]
    lam = {name: _beta(alpha, first.shape[0], generator).to(first.device) for name in own or ["fused"]}
    if not own:
        lam, share = dict.fromkeys(plan.streams[depth], lam["fused"]), lam["fused"]
        return Mix(depth, partner, lam, share, dict.fromkeys(plan.modalities, share))
    mine, theirs = _shares(lam, tokens, partner)
    nothing = mine + theirs < LEAST  # almost nothing of both samples would be left: the sample is not mixed
    lam = {name: share.masked_fill(nothing, 1.0) for name, share in lam.items()}
    label = (mine / (mine + theirs)).masked_fill(nothing, 1.0)  # SFT eq. 11
    shares = {name: _share({name: lam[name]}, tokens, partner) for name in own}
    return Mix(depth, partner, {name: lam.get(name, label) for name in plan.streams[depth]}, label, shares)


def fixed(tokens: dict[str, Tokens], plan: Plan, *, depth: int, partner: Tensor, lam: float) -> Mix:
    """A mix with the same lambda everywhere, for tests and explanations."""
    first = next(iter(tokens.values())).x
    share = torch.full((first.shape[0],), lam, device=first.device)
    return Mix(depth, partner, dict.fromkeys(plan.streams[depth], share), share, dict.fromkeys(plan.modalities, share))


def mix_state(state: State, mix: Mix) -> State:
    """Blends every stream of every sample with its partner's (SFT eq. 10)."""
    return state._replace(streams={name: _mix(t, mix.partner, mix.lam[name]) for name, t in state.streams.items()})


def _mix(tokens: Tokens, partner: Tensor, lam: Tensor) -> Tokens:
    """Blends tokens; a token that only one of two samples has is kept, weighted by its share.

    Unlike the paper, whose clips have one length: the blend is weighted by presence, which for two real tokens is
    eq. 10 and which makes lambda 1 the sample and lambda 0 its partner exactly, padding included.
    """
    mine = lam[:, None] * tokens.mask.to(lam.dtype)  # (B, N)
    theirs = (1 - lam)[:, None] * tokens.mask[partner].to(lam.dtype)
    weight = mine + theirs
    share = (mine / weight.clamp_min(torch.finfo(lam.dtype).tiny))[..., None].to(tokens.x.dtype)
    x = torch.lerp(tokens.x[partner], tokens.x, share)
    return Tokens(x, weight)


def _shares(lam: dict[str, Tensor], tokens: dict[str, Tokens], partner: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) how much of the mixed sample is its own and its partner's, summed over modalities.

    Where both have every modality, own / (own + partner's) is the mean lambda of SFT eq. 11. A modality that only one
    of them has counts for that one alone.
    """
    mine = torch.zeros_like(lam[next(iter(lam))])
    theirs = torch.zeros_like(mine)
    for name in lam.keys() & tokens.keys():
        there = tokens[name].mask.any(1).to(mine.dtype)
        mine = mine + lam[name] * there
        theirs = theirs + (1 - lam[name]) * there[partner]
    return mine, theirs


def _share(lam: dict[str, Tensor], tokens: dict[str, Tokens], partner: Tensor) -> Tensor:
    """(B,) the sample's own share in what is left of these modalities; 1 where that is almost nothing."""
    mine, theirs = _shares(lam, tokens, partner)
    return (mine / (mine + theirs)).masked_fill(mine + theirs < LEAST, 1.0)


def _beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """(count,) Beta(alpha, alpha) draws, by two gammas from the given generator."""
    gammas = torch._standard_gamma(  # pyright: ignore[reportPrivateImportUsage]
        torch.full((2, count), alpha, dtype=torch.float64), generator=generator
    )
    return (gammas[0] / gammas.sum(0).clamp_min(1e-300)).float()
