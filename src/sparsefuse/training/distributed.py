"""Distributed training with torchrun: this process's rank, and collectives over all processes."""

import os
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from sparsefuse.parallel.devices import device_of


class Rank(NamedTuple):
    """This process among `world` processes."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0


def join(device: str) -> Rank:
    """Joins the processes torchrun started (gloo on the CPU, nccl on CUDA); alone without torchrun."""
    chosen = device_of(device)
    if "RANK" not in os.environ:
        return Rank(0, 1, torch.device(chosen))
    if chosen == "cuda":
        chosen = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.startswith("cuda") else "gloo")
    return Rank(dist.get_rank(), dist.get_world_size(), torch.device(chosen))


def leave() -> None:
    """Leaves the process group, if there is one, after a barrier. After an error, end the process without it.

    Gloo's thread needs the GIL to release the last tensor; a process that exits meanwhile aborts or hangs, and
    torchrun ends the others with it. During the barrier it gets the GIL.
    """
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def sum_over(values: Tensor, rank: Rank) -> Tensor:
    """Sum of a tensor of one shape over all processes, on each of them."""
    if rank.world > 1:
        dist.all_reduce(values)
    return values


def wait(rank: Rank) -> None:
    """A barrier: files that the first process wrote before it can be read by all after it."""
    sum_over(torch.zeros(1, device=rank.device), rank)
