"""What can be said of a stream without learning: tokens in; a row of numbers per clip out.

Of each feature its mean and standard deviation, quantiles, slopes (of the whole clip and of its thirds), first
differences (mean size and spread), and the spectrum (amplitude in octaves of frequency). A wide stream has fewer of
them, a single token its mean alone.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.tokens import Tokens

Kind = Literal["all", "moments", "mean"]

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
PARTS = 3
"""of a clip, with a slope each"""
WINDOW = 32
"""tokens of a window of the spectrum, with a new one every half of them"""
OCTAVES = ((1, 1), (2, 3), (4, 7), (8, 16))
"""first and last frequency of each, in cycles per window"""
PER_FEATURE = {"all": 4 + len(QUANTILES) + 1 + PARTS + len(OCTAVES), "moments": 4, "mean": 1}
MOST = 4096
"""numbers of a stream, beyond which it has fewer statistics"""


def kind_of(width: int, length: int | None) -> Kind:
    """Which statistics a stream of this width has, if its longest clip has so many tokens (None = not known)."""
    if length == 1:
        return "mean"
    fitting: list[Kind] = [kind for kind in ("all", "moments") if width * PER_FEATURE[kind] <= MOST]
    return fitting[0] if fitting else "mean"


def statistics(tokens: Tokens, kind: Kind) -> Tensor:
    """(B, N, F) -> (B, `PER_FEATURE` * F), whatever stands where the mask is False; 0 of a clip without a token.

    All but quantiles are products of matrices, so that they are counted.
    """
    mask = tokens.mask
    x = torch.where(mask[..., None], tokens.x, torch.zeros((), dtype=tokens.x.dtype, device=tokens.x.device))
    real = mask.to(x.dtype)  # (B, N)
    share = real / real.sum(1, keepdim=True).clamp_min(1)
    mean = share[:, None] @ x  # (B, 1, F)
    if kind == "mean":
        return mean.flatten(1)
    rest = (x - mean) * real[..., None]
    pairs = real[:, 1:] * real[:, :-1]
    pairs = (pairs / pairs.sum(1, keepdim=True).clamp_min(1))[:, None]  # (B, 1, N - 1)
    steps = x.diff(dim=1)
    found = [mean, _root(share[:, None] @ rest.square()), pairs @ steps.abs(), _root(pairs @ steps.square())]
    if kind == "all":
        found += [_quantiles(x, mask), _slopes(real) @ rest, _spectrum(rest, real)]
    return torch.cat(found, 1).flatten(1)


def _root(x: Tensor) -> Tensor:
    return x.clamp_min(1e-12).sqrt()  # its gradient at 0 is none


def _quantiles(x: Tensor, mask: Tensor) -> Tensor:
    """(B, Q, F), between two tokens by linear interpolation."""
    ordered = torch.where(mask[..., None], x, math.inf).sort(1).values
    last = (mask.sum(1) - 1).clamp_min(0).to(x.dtype)  # (B,)
    place = last[:, None] * torch.tensor(QUANTILES, dtype=x.dtype, device=x.device)  # (B, Q)
    low, high = (
        ordered.gather(1, at.long()[..., None].expand(-1, -1, x.shape[2])) for at in (place.floor(), place.ceil())
    )
    found = low + (high - low) * (place - place.floor())[..., None]
    return torch.where(mask.any(1)[:, None, None], found, 0.0)


def _slopes(real: Tensor) -> Tensor:
    """(B, 1 + `PARTS`, N) by which tokens are multiplied for the slope of the whole clip, and of each of its parts: the
    least squares' change from one end of it to the other."""
    place = (real.cumsum(1) - 0.5) / real.sum(1, keepdim=True).clamp_min(1)  # (B, N) in (0, 1)
    spans = [(0.0, 1.0), *((i / PARTS, (i + 1) / PARTS) for i in range(PARTS))]
    found = []
    for begin, end in spans:
        inside = real * (place >= begin) * (place < end)
        time = (place - begin) / (end - begin)
        time = (time - (time * inside).sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp_min(1)) * inside
        found.append(time / time.square().sum(1, keepdim=True).clamp_min(1e-6))
    return torch.stack(found, 1)


def _spectrum(rest: Tensor, real: Tensor) -> Tensor:
    """(B, octaves, F) root of the mean power in each octave of frequency, over Hann windows (Welch 1967)."""
    time = torch.arange(WINDOW, device=rest.device)
    angles = 2 * math.pi / WINDOW * torch.arange(1, WINDOW // 2 + 1, device=rest.device)[:, None] * time
    hann = torch.hann_window(WINDOW, device=rest.device, dtype=rest.dtype)
    waves = torch.cat([angles.cos(), angles.sin()]).to(rest.dtype) * hann  # (2 * frequencies, window)
    rows = F.pad(rest.transpose(1, 2), (0, WINDOW - 1)).flatten(0, 1)[:, None]  # (B * F, 1, N + window - 1)
    parts = F.conv1d(rows, waves[:, None], stride=WINDOW // 2).square()
    power = (parts[:, : WINDOW // 2] + parts[:, WINDOW // 2 :]).sum(2)  # (B * F, frequencies)
    power = power.unflatten(0, (rest.shape[0], rest.shape[2])) / real.sum(1)[:, None, None].clamp_min(1)
    octaves = torch.stack([power[..., low - 1 : high].sum(-1) for low, high in OCTAVES], 1)
    return _root(octaves)
