"""TokenFusion's exchange on pixels: what a stream takes from another at the same place (Wang et al. 2022, section 3).

`layers/exchange.py` finds a donor's token by its time in a clip, among streams of other lengths. Streams of pictures
have one grid: the place is its own index, and nothing is gathered.
"""

import torch
from torch import Tensor, nn

from sparsefuse.layers.exchange import allot

SIDE = 32
"""Places, along each side, that are divided among donors; larger grids repeat them."""


class Places(nn.Module):
    """Which other stream a stream takes from, by place: fixed, in groups of equal size (eq. 7)."""

    def __init__(self, num_streams: int, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        slots = [allot(SIDE**2, max(num_streams - 1, 1), generator) for _ in range(num_streams)]
        self.register_buffer("slots", torch.stack(slots).view(-1, SIDE, SIDE))
        self.slots: Tensor

    def takes(self, masks: list[Tensor]) -> list[dict[int, Tensor]]:
        """For each stream, by donor: the places (B, H, W) where both are real and it may take the donor's."""
        rows, columns = (torch.arange(n, device=self.slots.device) % SIDE for n in masks[0].shape[1:])
        slots = self.slots[:, rows[:, None], columns]  # (M, H, W)
        found = []
        for i, own in enumerate(masks):
            others = [j for j in range(len(masks)) if j != i]
            found.append({j: own & masks[j] & (slots[i] == number) for number, j in enumerate(others)})
        return found


def exchange(values: list[Tensor], gone: list[Tensor], takes: list[dict[int, Tensor]]) -> list[Tensor]:
    """The streams' values (B, H, W, D) or (B, H, W), with the donors' where `gone` (B, H, W).

    All donors give their values from before the exchange: two tokens that replace each other swap.
    """
    changed = []
    for i, own in enumerate(values):
        new = own
        for donor, places in takes[i].items():
            where = gone[i] & places
            new = torch.where(where if own.ndim == 3 else where[..., None], values[donor], new)
        changed.append(new)
    return changed


def exchange_channels(values: list[Tensor], masks: list[Tensor], weak: list[Tensor]) -> list[Tensor]:
    """The streams' values (B, H, W, D), with the mean of the other streams' there in the channels `weak` (D).

    Where no other stream is real the stream keeps its own.
    """
    real = torch.stack(masks)[..., None].to(values[0].dtype)  # (M, B, H, W, 1)
    total, count = (torch.stack(values) * real).sum(0), real.sum(0)
    changed = []
    for own, there, channels in zip(values, real, weak, strict=True):
        others = count - there
        mean = (total - own * there) / others.clamp_min(1)
        changed.append(torch.where(channels & (others > 0), mean, own))
    return changed


def parts_of_channels(dim: int, num_streams: int) -> list[list[bool]]:
    """Per stream D: which channels are its to give up, each channel for one stream alone (CEN)."""
    part = [channel * num_streams // dim for channel in range(dim)]
    return [[place == i for place in part] for i in range(num_streams)]
