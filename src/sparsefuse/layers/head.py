"""From the CLS tokens of one or more streams to logits."""

from typing import Literal

import torch
from torch import Tensor, nn

from sparsefuse.layers.block import presence, sum_present
from sparsefuse.tokens import State


class Head(nn.Module):
    """LayerNorm and one linear layer, shared by the streams it reads; logits are summed or averaged over them.

    A stream that a sample lacks has no say. (B, N, D) streams -> (B, C) logits.
    """

    def __init__(self, dim: int, num_classes: int, streams: tuple[str, ...], reduce: Literal["sum", "mean"] = "sum"):
        super().__init__()
        self.streams, self.reduce = streams, reduce
        self.norm = nn.LayerNorm(dim)
        self.classify = nn.Linear(dim, num_classes)

    def forward(self, state: State) -> Tensor:
        read = [state.streams[name] for name in self.streams]
        cls = torch.stack([stream.x[:, 0] for stream in read], 1)  # (B, M, D)
        there = torch.cat([presence(stream) for stream in read], 1)  # (B, M, 1)
        total = sum_present(self.classify(self.norm(cls)), there)
        return total / (there > 0).sum(1).clamp_min(1) if self.reduce == "mean" else total
