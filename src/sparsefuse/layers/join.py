"""Joining streams into one: CLS tokens are summed, the other tokens stand one after another (SFT eqs. 5-6)."""

import torch
from torch import nn

from sparsefuse.layers.block import presence
from sparsefuse.tokens import State, Tokens


class Join(nn.Module):
    """Streams of all modalities -> the one stream `fused`: [sum of CLS | tokens of the first | of the second ...]."""

    def __init__(self, modalities: tuple[str, ...]):
        super().__init__()
        self.modalities = modalities

    def forward(self, state: State) -> State:
        parts = [state.streams[name] for name in self.modalities]
        cls = torch.stack([part.x[:, :1] * presence(part) for part in parts]).sum(0)  # SFT eq. 5
        there = torch.stack([part.mask[:, :1] for part in parts]).amax(0)
        x = torch.cat([cls, *(part.x[:, 1:] for part in parts)], 1)  # SFT eq. 6
        mask = torch.cat([there, *(part.mask[:, 1:] for part in parts)], 1)
        return state._replace(streams={"fused": Tokens(x, mask)})
