"""From the CLS tokens of one or more streams to logits."""

from typing import Literal

import torch
from torch import Tensor, nn

from sparsefuse.layers.streams import presence, sum_present
from sparsefuse.tokens import HeadOutputs, State


class Head(nn.Module):
    """LayerNorm and one linear layer, shared by the streams it reads: (B, N, D) streams -> (B, C) logits.

    Logits are summed (`sum`) or averaged (`mean`) over the streams, or their CLS tokens are averaged first (`cls`). A
    stream that a sample lacks is ignored. `apart`: in training every stream's logits have a loss of their own.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        streams: tuple[str, ...],
        reduce: Literal["sum", "mean", "cls"] = "sum",
        *,
        apart: bool = False,
    ):
        super().__init__()
        self.streams, self.reduce, self.apart = streams, reduce, apart
        self.norm = nn.LayerNorm(dim)
        self.classify = nn.Linear(dim, num_classes)

    def forward(self, state: State) -> Tensor:
        cls, there = self._cls(state)
        count = (there > 0).sum(1).clamp_min(1)
        if self.reduce == "cls":
            return self.classify(self.norm(sum_present(cls, there) / count))
        total = sum_present(self.classify(self.norm(cls)), there)
        return total / count if self.reduce == "mean" else total

    def head_outputs(self, state: State) -> HeadOutputs:
        """The logits to train: one output per stream if they learn apart, else those of all."""
        if not self.apart:
            logits = self(state)
            return HeadOutputs(logits[:, None], torch.ones_like(logits[:, :1]))
        cls, there = self._cls(state)
        weights = there / there.sum(1, keepdim=True).clamp_min(1e-6)
        return HeadOutputs(self.classify(self.norm(cls)), weights[..., 0], self.streams)

    def _cls(self, state: State) -> tuple[Tensor, Tensor]:
        """The CLS tokens (B, M, D) of the streams, and whether they are there (B, M, 1)."""
        read = [state.streams[name] for name in self.streams]
        return torch.stack([s.x[:, 0] for s in read], 1), torch.cat([presence(s) for s in read], 1)
