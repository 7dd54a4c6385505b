"""Stems: what a raw stream passes before it is embedded, so that it becomes fewer tokens that say more.

`patch` joins neighbouring tokens: windows of `tokens`, one every `hop` of them. `conv` is a few depthwise-separable
convolutions (Howard et al. 2017), each followed by a norm over the batch and GELU: over time; or, if the `height` of a
frame is given, over a frame's rows and columns, each frame by itself. A spectrogram is a picture of its bins over time:
height = bins, width 1, and its convolutions go over time, too. What convolutions make is standardised.

A stem sees no padding: what is masked is 0 to it, and a token that it makes is real if one that it begins with is. So N
tokens become ceil(N / stride) for each stride over time, however long the batch is padded.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsefuse.errors import unknown
from sparsefuse.layers.ops.tracing import exporting
from sparsefuse.layers.options import check_choice
from sparsefuse.tokens import Tokens

Kind = Literal["linear", "patch", "conv"]
_SHARE, _EPSILON = 0.1, 1e-5  # as PyTorch's batch norm
Stems = Mapping[str, Mapping[str, Any]]
"""What methods take: {modality: {kind: conv, height: 32, width: 32, channels: 3}}."""


@dataclass(frozen=True)
class StemOptions:
    """The stem of one modality."""

    kind: Kind = "linear"
    """linear = none: each token is projected as it is"""
    tokens: int = 4
    """patch: tokens of a window"""
    hop: int = 0
    """patch: tokens from window to window; as many as a window has if not given"""
    filters: int = 32
    """conv: channels of every layer"""
    depth: int = 2
    """conv: layers"""
    kernel: int = 0
    """conv: taps along each axis, an odd number; 5 over time alone, 3 over pictures, if not given"""
    stride: int = 2
    """conv: steps of every layer, along each axis; over pictures along rows and columns"""
    height: int = 0
    """conv: rows of a frame, or bins of a spectrogram; 0 = features have no order, and layers go over time alone"""
    width: int = 1
    """conv: columns of a frame; 1 for a spectrogram"""
    channels: int = 1
    """conv: colours of a frame"""
    planes: int = 1
    """conv: pictures that a token holds, one behind another: 2 if it is a frame and its difference to the one before"""


class Stem(nn.Module):
    """Tokens (B, N, F) -> Tokens (B, N', `features`)."""

    features: int

    def length(self, length: int) -> int:
        """N' of N tokens."""
        raise NotImplementedError


def stems(options: Stems | None, features: Mapping[str, int]) -> dict[str, Stem]:
    """The stems of modalities that have one. Raises ValueError for unknown names and for frames of another size."""
    keys, made = [field.name for field in fields(StemOptions)], {}
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"stem is {options!r:.60}; expected options by modality, as in {{'rgb': {{'kind': 'conv'}}}}")
    for name, given in (options or {}).items():
        if name not in features:
            raise ValueError(f"stem: {unknown('modality', name, features)}")
        if not isinstance(given, Mapping):
            raise ValueError(f"stem of {name!r} is {given!r:.60}; expected its options, as in {{'kind': 'conv'}}")
        for key in given:
            if key not in keys:
                raise ValueError(f"stem of {name!r}: {unknown('key', key, keys)}")
        stem = _stem(name, StemOptions(**given), features[name])
        if stem is not None:
            made[name] = stem
    return made


def _stem(name: str, options: StemOptions, features: int) -> Stem | None:
    check_choice("kind", options.kind, Kind)
    for key, value in vars(options).items():
        low = 0 if key in ("hop", "kernel", "height") else 1
        if key != "kind" and (not isinstance(value, int) or isinstance(value, bool) or value < low):
            raise ValueError(f"stem of {name!r}: {key} is {value!r}; expected a whole number, {low} or more")
    if options.kernel and options.kernel % 2 == 0:
        raise ValueError(f"stem of {name!r}: kernel is {options.kernel}; expected an odd number")
    if options.kind == "linear":
        return None
    if options.kind == "patch":
        return PatchStem(features, options.tokens, options.hop or options.tokens)
    if not options.height:
        return TimeStem(features, options.filters, options.depth, options.kernel or 5, options.stride)
    shape = options.planes, options.height, options.width, options.channels
    if math.prod(shape) != features:
        size = " x ".join(map(str, shape if options.planes > 1 else shape[1:]))
        raise ValueError(
            f"stem of {name!r}: {size} = {math.prod(shape)} values, but its tokens have {features} features"
        )
    return PictureStem(options, options.kernel or 3)


class PatchStem(Stem):
    """Windows of `tokens`, joined: (B, N, F) -> (B, ceil(N / hop), tokens F). What lies beyond the end is 0."""

    def __init__(self, features: int, tokens: int, hop: int):
        super().__init__()
        if hop > tokens:
            raise ValueError(f"a stem of windows of {tokens} tokens with hop {hop} would leave tokens out")
        self.features, self.tokens, self.hop = features * tokens, tokens, hop

    def length(self, length: int) -> int:
        return math.ceil(length / self.hop)

    def forward(self, tokens: Tokens) -> Tokens:
        tokens = with_room(tokens, self.hop)
        x = F.pad(_cleared(*tokens), (0, 0, 0, self.tokens - 1))
        first = torch.arange(0, tokens.mask.shape[1], self.hop, device=x.device)
        windows = x[:, first[:, None] + torch.arange(self.tokens, device=x.device)]  # (B, N', tokens, F)
        return Tokens(windows.flatten(2), strided(tokens.mask, self.hop, first.shape[0]))


class TimeStem(Stem):
    """Convolutions over time: (B, N, F) -> (B, N', filters)."""

    def __init__(self, features: int, filters: int, depth: int, kernel: int, stride: int):
        super().__init__()
        self.features, self.stride = filters, stride
        self.project = nn.Linear(features, filters)
        self.layers = nn.ModuleList(Separable((filters, filters), (kernel, 1), (stride, 1)) for _ in range(depth))
        self.standard = Standard(filters)

    def length(self, length: int) -> int:
        return _after(length, self.stride, len(self.layers))

    def forward(self, tokens: Tokens) -> Tokens:
        tokens = with_room(tokens, self.stride ** len(self.layers))
        x, mask = self.project(_cleared(*tokens)).mT[..., None], tokens.mask  # (B, filters, N, 1)
        x, mask = _over_time(self.layers, x, mask, self.stride)
        return Tokens(self.standard(x[..., 0].mT, mask), mask)


class PictureStem(Stem):
    """Convolutions over pictures: (B, N, planes height width channels) -> (B, N', filters rows columns).

    Each frame is a picture; or, if frames are one value wide, all of them side by side are one.
    """

    def __init__(self, options: StemOptions, kernel: int):
        super().__init__()
        self.frame = options.planes, options.height, options.width, options.channels
        self.over_time, self.stride = options.width == 1, options.stride
        widths = [options.planes * options.channels, *[options.filters] * options.depth]
        strides = (options.stride, options.stride)
        self.layers = nn.ModuleList(Separable(pair, (kernel, kernel), strides) for pair in itertools.pairwise(widths))
        rows, columns = (_after(size, options.stride, options.depth) for size in self.frame[1:3])
        self.features = options.filters * rows * columns
        self.standard = Standard(self.features)

    def length(self, length: int) -> int:
        return _after(length, self.stride, len(self.layers)) if self.over_time else length

    def forward(self, tokens: Tokens) -> Tokens:
        if self.over_time:
            tokens = with_room(tokens, self.stride ** len(self.layers))
        x, mask = _cleared(*tokens).unflatten(2, self.frame), tokens.mask  # (B, N, planes, height, width, channels)
        x = x.permute(0, 1, 2, 5, 3, 4).flatten(2, 3)  # (B, N, planes channels, height, width)
        if self.over_time:
            x = x[..., 0].transpose(1, 2)  # (B, planes channels, N, bins)
            x, mask = _over_time(self.layers, x, mask, self.stride)
            return Tokens(self.standard(x.transpose(1, 2).flatten(2), mask), mask)
        x = x.flatten(0, 1)
        for layer in self.layers:
            x = layer(x, mask.flatten()[:, None])
        return Tokens(self.standard(x.flatten(1).unflatten(0, (mask.shape[0], -1)), mask), mask)


class Standard(nn.Module):
    """Values (..., C) whose every channel has mean 0 and deviation 1, where `real` (...) is true: over a batch in
    training, over the batches so far else. Then, if `affine`, a learned deviation and mean.

    A batch norm (Ioffe and Szegedy 2015) that sees no padding. Without it what all outputs of a convolution share is
    larger than what tells them apart, positions are larger still, and training does not begin (LOG.md).
    """

    mean: Tensor
    var: Tensor
    batches: Tensor

    def __init__(self, channels: int, *, affine: bool = False):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))
        self.register_buffer("batches", torch.zeros(1))
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        mean, var = self._measured(x, real) if self.training else (self.mean, self.var)
        scale = (var + _EPSILON).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        x = (x - mean.to(x.dtype)) * scale.to(x.dtype)
        return x if self.bias is None else x + self.bias

    def _measured(self, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Of this batch; noted in the running ones, unless nothing in it is real."""
        real = real.expand(x.shape[:-1])
        x, num = _cleared(x.float(), real).flatten(0, -2), real.sum()
        mean = x.sum(0) / num.clamp_min(1)
        var = (_cleared(x - mean, real.flatten())).square().sum(0) / num.clamp_min(1)
        with torch.no_grad():
            self.batches += num > 0
            share = torch.where(num > 0, (1 / self.batches.clamp_min(1)).clamp_min(_SHARE), 0)
            self.mean.lerp_(mean, share)
            self.var.lerp_(var, share)
        return mean, var


class Separable(nn.Module):
    """Maps (B, C, H, W): a filter of its own per channel, then a mix of channels, norm and GELU -> (B, C', H', W').

    One channel alone is filtered by all C' at once. The norm is over the batch and not over channels, place by place:
    that would make what lies still as loud as what moves.
    """

    def __init__(self, channels: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int]):
        super().__init__()
        first, last = channels
        groups = first if first == last else 1
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.filter = nn.Conv2d(first, last, kernel, stride, padding, groups=groups)
        self.mix = nn.Linear(last, last)
        self.norm = Standard(last, affine=True)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """`real` (B, H' or 1): rows of what comes out that are no padding."""
        x = self.filter(x).permute(0, 2, 3, 1)  # channels last
        return F.gelu(self.norm(self.mix(x), real[..., None])).permute(0, 3, 1, 2)


def _over_time(layers: Iterable[nn.Module], x: Tensor, mask: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Maps (B, C, N, bins) through layers, and their mask (B, N); each layer sees 0 where nothing is real."""
    for layer in layers:
        x = torch.where(mask[:, None, :, None], x, torch.zeros((), dtype=x.dtype, device=x.device))
        mask = strided(mask, stride, -(-x.shape[2] // stride))
        x = layer(x, mask)
    return x, mask


def with_room(tokens: Tokens, count: int) -> Tokens:
    """With `count` masked tokens more in an exported model, so that a stem makes two tokens or more of any clip.

    torch.export specialises on a length of 1; see `ops.windows.num_windows`.
    """
    if not exporting():
        return tokens
    return Tokens(F.pad(tokens.x, (0, 0, 0, count)), F.pad(tokens.mask, (0, count)))


def strided(mask: Tensor, stride: int, count: int) -> Tensor:
    """The mask (B, `count`) of tokens made of every `stride` tokens under `mask` (B, N): real if one is.

    `count` is ceil(N / stride), given so that an exported model need not find out that two lengths are one.
    """
    if stride == 1:
        return mask
    before = F.pad(mask.long().cumsum(1), (1, 0))  # (B, 1 + N) real tokens before each
    start = torch.arange(count, device=mask.device) * stride
    end = (start + stride).clamp_max(mask.shape[1])
    return before[:, end] > before[:, start]


def _cleared(x: Tensor, mask: Tensor) -> Tensor:
    """0 where there is no real token: padding may hold anything, NaN too."""
    return torch.where(mask[..., None], x, torch.zeros((), dtype=x.dtype, device=x.device))


def _after(length: int, stride: int, depth: int) -> int:
    for _ in range(depth):
        length = math.ceil(length / stride)
    return length
