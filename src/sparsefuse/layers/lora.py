"""Low-rank adaptation of linear layers (LoRA, Hu et al. 2021), as a parametrisation of their weights."""

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
    """Adds a low-rank change to every `nn.Linear` in `modules` and returns its parameters, which are to be trained.

    The rank is at most half of a layer's smaller side: above that it has as many parameters as the layer. Raises
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
    """Merges the changes into the weights: the modules are plain again, with the same names and shapes."""
    for linear in _linears(modules):
        if parametrize.is_parametrized(linear, "weight"):
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)


def _linears(modules: Iterable[nn.Module]) -> Iterator[nn.Linear]:
    """Every linear layer once, even if several modules share it."""
    visited: set[int] = set()
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn.Linear) and id(part) not in visited:
                visited.add(id(part))
                yield part
