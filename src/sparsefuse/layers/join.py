"""Joins streams into one: CLS tokens are summed, the other tokens concatenated (SFT eqs. 5-6)."""

import torch
from torch import nn

from sparsefuse.layers.streams import presence, sum_present
from sparsefuse.tokens import State, Tokens


class Join(nn.Module):
    """Streams of all modalities -> the one stream `fused`: [sum of CLS | tokens of the first | of the second ...]."""

    is_block = False  # mixup does not strike after it

    def __init__(self, modalities: tuple[str, ...]):
        super().__init__()
        self.modalities = modalities

    def forward(self, state: State) -> State:
        parts = [state.streams[name] for name in self.modalities]
        there = torch.cat([presence(part) for part in parts], 1)  # (B, M, 1)
        cls = sum_present(torch.stack([part.x[:, 0] for part in parts], 1), there)  # SFT eq. 5
        x = torch.cat([cls[:, None], *(part.x[:, 1:] for part in parts)], 1)  # SFT eq. 6
        any_there = (there[..., 0] > 0).any(1, keepdim=True)
        mask = torch.cat([any_there, *(part.mask[:, 1:] for part in parts)], 1)
        return state._replace(streams={"fused": Tokens(x, mask)})
