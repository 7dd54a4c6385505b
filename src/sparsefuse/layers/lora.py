"""Low-rank changes to linear layers (LoRA, Hu et al. 2021): modules in, the same with small trained matrices out."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """W (out, in) -> W + up @ down, with down (rank, in) and up (out, rank). `up` starts at 0, so W starts as it is."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator):
        super().__init__()
        out, width = weight.shape
        down = torch.randn(rank, width, generator=generator) / width**0.5
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(weight.new_zeros(out, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def add(modules: Iterable[nn.Module], rank: int, generator: torch.Generator) -> list[nn.Parameter]:
    """Puts a low-rank change on every `nn.Linear` in `modules` and returns what is to be trained of it.

    The rank is at most half of a layer's smaller side: more would be no fewer numbers than the layer itself. Raises
    ValueError for a rank below 1.
    """
    if rank < 1:
        raise ValueError(f"rank is {rank}; expected 1 or more")
    new: list[nn.Parameter] = []
    for linear in _linears(modules):
        change = LowRank(linear.weight, min(rank, max(1, min(linear.weight.shape) // 2)), generator)
        parametrize.register_parametrization(linear, "weight", change)
        new += [change.down, change.up]
    return new


def merge(modules: Iterable[nn.Module]) -> None:
    """Makes the changes part of the weights: the modules are plain ones again, of the same names and shapes."""
    for linear in _linears(modules):
        if parametrize.is_parametrized(linear, "weight"):
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)


def _linears(modules: Iterable[nn.Module]) -> Iterator[nn.Linear]:
    """Every linear layer once, however many modules share it."""
    seen: set[int] = set()
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn.Linear) and id(part) not in seen:
                seen.add(id(part))
                yield part
