"""Several models as one: raw streams in, the mean of the members' calibrated logits out.

The mean of logits is the geometric mean of the members' distributions, which Hinton et al. 2015 name beside the
arithmetic one for an ensemble that teaches. It gives logits again: one temperature calibrates them (after pooling, as
Rahaman & Thiery 2021 advise), and they export. Each member's own temperature comes first, or the one that is least
modest would decide. Of regression it is the mean of the numbers.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sparsefuse.data.fitting import Fitted
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.stats import Stats
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.streams import zero_penalty
from sparsefuse.model import FusionModel
from sparsefuse.tokens import State, Tokens


class Member(nn.Module):
    """A trained model with what prediction does before and after it: cutting, resampling, normalising, the mean over
    windows, and the temperature."""

    def __init__(self, model: FusionModel, fit: Lengths, stats: Stats | None, temperature: float = 1.0):
        super().__init__()
        self.model, self.windows, self.temperature = model, fit.windows, temperature
        self.fitted = nn.ModuleList(Fitted(name, fit, stats) for name in model.modalities)

    def forward(self, streams: Mapping[str, Tokens]) -> tuple[Tensor, Tensor] | None:
        """Raw streams, real tokens first -> calibrated logits (B, C), and whether a clip has anything that it reads
        (B,); None if none of its modalities is given."""
        masks = [streams[name].mask for name in self.model.modalities if name in streams]
        if not masks:
            return None
        there = torch.stack([mask.any(1) for mask in masks]).any(0)
        tokens = {}
        for name, fitted in zip(self.model.modalities, self.fitted, strict=True):
            if name in streams:
                x, mask = streams[name]
                length = mask.sum(1)
                length = torch.where(there, length, length.clamp_min(1))  # a clip of nothing gets a token, and no say
                tokens[name] = fitted(torch.where(mask[..., None], x, torch.zeros_like(x)), length)
        logits = self.model(tokens).logits.float()
        if self.windows > 1:
            logits = logits.unflatten(0, (-1, self.windows)).mean(1)
        return logits / self.temperature, there


class Members(nn.Module):
    """The head of an ensemble: the mean over the members that read something of a clip."""

    def __init__(self, members: Sequence[Member]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, state: State) -> Tensor:
        outputs = [found for member in self.members if (found := member(state.streams)) is not None]
        logits = torch.stack([logits for logits, _ in outputs])  # (M, B, C)
        say = torch.stack([there for _, there in outputs])[..., None].to(logits.dtype)  # (M, B, 1)
        return (logits * say).sum(0) / say.sum(0).clamp_min(1)


class RawStreams(nn.Module):
    """In place of an embedding: streams pass as they are."""

    def __init__(self, features: Mapping[str, int]):
        super().__init__()
        self.features, self.grids = dict(features), {}

    def forward(self, tokens: dict[str, Tokens]) -> State:
        read = {name: tokens[name] for name in self.features if name in tokens}
        if not read:
            expected, got = ", ".join(self.features), ", ".join(tokens) or "none"
            raise ValueError(f"the ensemble needs at least one of {expected}; got {got}")
        return State(read, zero_penalty(next(iter(read.values())).x))


def ensemble_of(members: Sequence[Member]) -> FusionModel:
    """The ensemble as a model of raw features, all that any member accepts."""
    features = {name: width for member in members for name, width in member.model.features.items()}
    read = {name: features[name] for name in sorted({name for each in members for name in each.model.modalities})}
    return FusionModel(cast(Embed, RawStreams(read)), [], Members(members), features=features)


def members_of(model: FusionModel) -> list[Member]:
    """Those of an ensemble; none of any other model."""
    return [cast(Member, member) for member in model.head.members] if isinstance(model.head, Members) else []
