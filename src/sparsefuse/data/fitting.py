"""Cutting, resampling, windows and normalisation in the graph, for any lengths; see `data.lengths` and `data.stats`."""

import torch
from torch import Tensor, nn

from sparsefuse.data.lengths import Lengths
from sparsefuse.data.stats import Stats
from sparsefuse.tokens import Tokens


class Fitted(nn.Module):
    """Raw features (B, N, F) of which `length` (B,) are real -> Tokens (B, N', F), or (B W, N', F) with W windows.

    Resampled streams have that many tokens, cut ones `max_length`, short clips padded; others keep N. The patches of a
    frame stay together, as in `data.lengths`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, fit: Lengths, stats: Stats | None):
        super().__init__()
        self.size, self.resampled, self.patches = fit.longest(name), fit.resample.get(name, 0), fit.frame(name)
        self.windows, self.windowed = fit.windows, fit.windowed(name)
        self.normalised = stats is not None
        if stats is not None:
            self.register_buffer("mean", stats.mean[name])
            self.register_buffer("std", stats.std[name])

    def forward(self, x: Tensor, length: Tensor) -> Tokens:
        if self.windowed:
            x, mask = self._windows(x, length)
        else:
            if self.size:
                length = length.clamp_max(self.size)
            if self.resampled:
                x, mask = self._resampled(x, length), (length > 0)[:, None].expand(-1, self.resampled)
            elif self.size:
                place = torch.arange(self.size, device=x.device)
                x, mask = x.index_select(1, place.clamp_max(x.shape[1] - 1)), place < length[:, None]
            else:
                mask = torch.arange(x.shape[1], device=x.device) < length[:, None]
            if self.windows > 1:
                x, mask = (t.repeat_interleave(self.windows, 0) for t in (x, mask))
        return Tokens((x - self.mean) / self.std if self.normalised else x, mask)

    def _resampled(self, x: Tensor, length: Tensor) -> Tensor:
        """(B, N, F) -> (B, resampled, F), interpolated between the first real token and the last."""
        real = (length // self.patches).clamp_min(1)  # frames
        token = torch.arange(self.resampled, device=x.device)
        frame, patch = token // self.patches, token % self.patches
        if self.resampled == self.patches:
            place = torch.arange(x.shape[1], device=x.device)
            is_real = place < real[:, None] * self.patches
            share = is_real[:, None] & (place % self.patches == patch[:, None])  # (B, resampled, N)
            return share.to(x.dtype) @ torch.where(is_real[..., None], x, 0.0) / real[:, None, None].to(x.dtype)
        scale = (real - 1).to(x.dtype) / (self.resampled // self.patches - 1)
        place = frame * scale[:, None]  # (B, resampled)
        low = place.floor().long()
        high = torch.minimum(low + 1, real[:, None] - 1)
        share = (place - low)[..., None]
        before, after = (_rows(x, at * self.patches + patch) for at in (low, high))
        return before * (1 - share) + after * share

    def _windows(self, x: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """(B W, max_length, F) and their mask; the windows of a clip one after another."""
        part = torch.arange(self.windows, device=x.device) / (self.windows - 1)
        spare = (length - self.size).clamp_min(0)
        start = (spare[:, None] // self.patches * part).round().long() * self.patches  # (B, W)
        place = start[..., None] + torch.arange(self.size, device=x.device)  # (B, W, max_length)
        mask = place < length[:, None, None]
        rows = _rows(x, place.clamp_max(x.shape[1] - 1).flatten(1))
        return rows.unflatten(1, (self.windows, self.size)).flatten(0, 1), mask.flatten(0, 1)


def _rows(x: Tensor, place: Tensor) -> Tensor:
    """x (B, N, F) at the places (B, K) -> (B, K, F)."""
    return x.gather(1, place[..., None].expand(-1, -1, x.shape[2]))
