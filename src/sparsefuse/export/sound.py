"""The log-mel front end as a module: `features.spectrogram` for a batch of any lengths."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsefuse.features.spectrogram import FLOOR, hamming, mel_matrix


class Wave(nn.Module):
    """Samples (B, S) of which `length` (B,) are real -> features (B, N, F) and how many of them are real (B,).

    Options as those of `features.spectrogram.Extractor`.
    """

    def __init__(
        self,
        *,
        rate: int = 16000,
        bins: int = 128,
        window: float = 0.025,
        hop: float = 0.010,
        difference: bool = False,
        energy: bool = False,
        context: int = 0,
        every: int = 1,
    ):
        super().__init__()
        self.rate, self.bins = rate, bins
        self.difference, self.energy = difference, energy
        self.context, self.every = context, every
        self.stride = round(hop * rate)
        # A constant: ONNX has a Hamming window of its own, of 25/46 in place of 0.54.
        self.register_buffer("taper", torch.from_numpy(hamming(round(window * rate))))
        self.taper: Tensor

    def forward(self, sound: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        real = torch.arange(sound.shape[1], device=sound.device) < length[:, None]
        sound = torch.where(real, sound, 0.0)
        # A clip shorter than a hop is padded to one hop and has one token; padding all clips by a hop changes no token
        # of the others.
        sound = functional.pad(sound, (0, self.stride))
        x = of_windows(tapered(sound, self.taper, stride=self.stride), rate=self.rate, bins=self.bins)  # (B, N, bins)
        parts = [x]
        if self.difference:
            parts.append(x - torch.cat([x[:, :1], x[:, :-1]], 1))
        if self.energy:
            parts.append(x.logsumexp(2, keepdim=True))
        x = torch.cat(parts, 2)
        count = torch.where(length > 0, (length // self.stride).clamp_min(1), 0)
        place = torch.arange(x.shape[1], device=x.device)[:: self.every] if self.every > 1 else None
        if self.context:
            x = self._joined(x, count, place)
        elif place is not None:
            x = x.index_select(1, place)
        return x, (count + self.every - 1) // self.every

    def _joined(self, x: Tensor, count: Tensor, place: Tensor | None) -> Tensor:
        """Tokens with their neighbours; a clip's ends repeat."""
        middle = torch.arange(x.shape[1], device=x.device) if place is None else place
        around = middle[:, None] + torch.arange(-self.context, self.context + 1, device=x.device)  # (N, 2c + 1)
        last = (count - 1).clamp_min(0)[:, None, None]
        around = torch.minimum(around.clamp_min(0)[None], last).flatten(1)  # (B, N (2c + 1))
        rows = x.gather(1, around[..., None].expand(-1, -1, x.shape[2]))
        return rows.unflatten(1, (-1, 2 * self.context + 1)).flatten(2)


def tapered(sound: Tensor, taper: Tensor, *, stride: int) -> Tensor:
    """The windows that tokens are made of: (..., S), at least one stride, weights (L,) -> (..., N, L)."""
    length = len(taper)
    before = (length - stride) // 2
    return functional.pad(sound, (before, length - stride - before)).unfold(-1, length, stride) * taper


def of_windows(windows: Tensor, *, rate: int, bins: int) -> Tensor:
    """The log of the mel power of windows (..., N, L): (..., N, bins)."""
    num_fft = 2 ** math.ceil(math.log2(windows.shape[-1]))
    # Not torch.stft, which adds a guard on the number of tokens that torch.export cannot satisfy.
    power = torch.fft.rfft(windows, num_fft).abs().square()  # (..., N, num_fft / 2 + 1)
    mel = torch.from_numpy(mel_matrix(rate, num_fft, bins)).to(power)  # (bins, num_fft / 2 + 1)
    return (functional.linear(power, mel) + FLOOR).log()
