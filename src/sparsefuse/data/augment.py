"""Training batches made harder: cropped and warped in time, turned, mirrored, scaled, noisy, with bands, spans of
tokens or modalities hidden, and pictures cropped, flipped and changed in brightness and contrast.

All draws come from a generator on the CPU, so that they are the same on every device.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.config import Data, Picture, SpecAugment
from sparsefuse.data.axes import check_axes, turn
from sparsefuse.data.stats import Stats
from sparsefuse.errors import unknown
from sparsefuse.tokens import Batch, Tokens

Patches = Mapping[str, int]

SPANS = 12
"""Spans of a stream that `hide_tokens` hides or keeps: a single hidden token is easily guessed from its neighbours."""


def augment(
    batch: Batch, data: Data, stats: Stats | None, generator: torch.Generator, patches: Patches = MappingProxyType({})
) -> Batch:
    """Applies all augmentations of the configuration; `stats` have normalised the batch.

    `patches`: modality -> tokens of each frame, where these are several, which stay together."""
    if data.modality_dropout:
        batch = hide_modalities(batch, data.modality_dropout, generator)
    if data.crop:
        batch = crop(batch, data.crop, generator, patches)
    if data.time_warp:
        batch = warp(batch, data.time_warp, generator, patches)
    if data.rotate or data.mirror:
        batch = turn(batch, data, stats, generator)
    if data.scale:
        batch = scale(batch, data.scale, generator)
    tokens = dict(batch.tokens)
    for name, picture in data.pictures.items():
        tokens[name] = change_pictures(tokens[name], picture, generator)
    for name, bands in data.spec_augment.items():
        tokens[name] = hide_bands(tokens[name], bands, generator)
    batch = batch._replace(tokens=tokens)
    if data.token_dropout:
        batch = hide_tokens(batch, data.token_dropout, generator)
    if data.noise:
        batch = add_noise(batch, data.noise, generator)
    return batch


def check_names(data: Data, features: Mapping[str, int]) -> None:
    """Raises ValueError for a modality that is not there, or pictures or axes of another size than its features."""
    for field in ("spec_augment", "pictures", "axes"):
        for name in getattr(data, field):
            if name not in features:
                raise ValueError(f"data.{field}: {unknown('modality', name, features)}")
    for name, picture in data.pictures.items():
        shape = (picture.height, picture.width, picture.channels)
        if math.prod(shape) != features[name]:
            raise ValueError(
                f"data.pictures: {name!r} is {' x '.join(map(str, shape))} = {math.prod(shape)} values, but its frames "
                f"have {features[name]} features"
            )
    check_axes(data, features)


def hide_bands(tokens: Tokens, bands: SpecAugment, generator: torch.Generator) -> Tokens:
    """Sets bands of bins and of tokens to 0, drawn anew for each sample; the tokens stay (Park et al. 2019). The rest
    becomes louder or softer by up to `gain`.

    A band's width is uniform in 0 .. `freq` (`time`), at most the bins (the real tokens), and its place uniform.
    """
    x, mask = tokens
    bins = torch.full((len(x), 1), x.shape[2])
    hidden = _bands(bins, x.shape[2], bands.freq, bands.freq_masks, generator)[:, None].to(x.device)
    length = mask.sum(1, keepdim=True).cpu()
    hidden = hidden | _bands(length, x.shape[1], bands.time, bands.time_masks, generator)[..., None].to(x.device)
    if bands.gain:
        louder = bands.gain * (2 * torch.rand(len(x), 1, 1, generator=generator) - 1)
        x = x + louder.to(x) * mask[..., None]
    return Tokens(x.masked_fill(hidden, 0), mask)


def _bands(length: Tensor, size: int, widest: int, count: int, generator: torch.Generator) -> Tensor:
    """(B, size) True in `count` bands within the first `length` (B, 1) places."""
    draw = torch.rand(2, len(length), count, generator=generator)
    width = (draw[0] * (length.clamp_max(widest) + 1)).long()  # (B, count) 0 .. widest
    start = (draw[1] * (length - width + 1)).long()
    place = torch.arange(size)[None, :, None]
    return ((place >= start[:, None]) & (place < (start + width)[:, None])).any(2)


def change_pictures(tokens: Tokens, picture: Picture, generator: torch.Generator) -> Tokens:
    """Crops, flips, brightens and stretches the contrast of frames, all frames of a sample alike; padding stays 0."""
    x, mask = tokens
    size, across, down, flip, light, contrast = torch.rand(6, len(x), generator=generator).to(x)
    scale = 1 - picture.crop * size  # of the window, as a share of the frame; its middle lies within +-(1 - scale)
    sign = 1 - 2 * (flip < picture.flip).to(x.dtype)
    zero = torch.zeros_like(scale)
    rows = [scale * sign, zero, (2 * across - 1) * (1 - scale), zero, scale, (2 * down - 1) * (1 - scale)]
    frames = x.unflatten(2, (picture.height, picture.width, picture.channels)).permute(0, 1, 4, 2, 3)
    flat = frames.flatten(1, 2)  # (B, N * channels, height, width)
    if picture.crop or picture.flip:
        grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), [len(x), 1, *flat.shape[2:]], align_corners=False)
        flat = F.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    x = flat.view(frames.shape).permute(0, 1, 3, 4, 2).flatten(2)
    real = mask[..., None]
    mean = (x * real).sum((1, 2), keepdim=True) / (mask.sum(1)[:, None, None] * x.shape[2]).clamp_min(1)
    stretch = (1 + picture.contrast * (2 * contrast - 1))[:, None, None]
    x = (x - mean) * stretch + mean + (picture.brightness * (2 * light - 1))[:, None, None]
    return Tokens(x * real, mask)


def crop(batch: Batch, share: float, generator: torch.Generator, patches: Patches = MappingProxyType({})) -> Batch:
    """Cuts up to `share` of each sample off its two ends, the same part of all its streams, so that they stay aligned.

    Shapes stay as they are: what was cut becomes padding. `patches` as in `augment`.
    """
    cut, before = torch.rand(2, len(batch.ids), 1, generator=generator)
    begin, end = share * cut * before, 1 - share * cut * (1 - before)  # (B, 1) as shares of the sample's length
    tokens = {}
    for name, (x, mask) in batch.tokens.items():
        length = mask.sum(1, keepdim=True).cpu()  # real tokens stand first
        frame = patches.get(name, 1)
        frames = length / frame
        first, last = (begin * frames).floor().long() * frame, (end * frames).ceil().long() * frame
        place = torch.arange(mask.shape[1]) + first  # (B, N) where each token comes from
        kept = (place < last.minimum(length)).to(mask.device)
        place = place.clamp_max(mask.shape[1] - 1).to(mask.device)
        tokens[name] = Tokens(x.gather(1, place[..., None].expand_as(x)) * kept[..., None], kept)
    return batch._replace(tokens=tokens)


def warp(batch: Batch, share: float, generator: torch.Generator, patches: Patches = MappingProxyType({})) -> Batch:
    """Changes the tempo of each sample along it by up to `share`, in all its streams alike, so that they stay aligned.

    Both ends and the number of tokens stay; between tokens, values are interpolated. `patches` as in `augment`.
    """
    half, whole = share / 2 * (2 * torch.rand(2, len(batch.ids), 1, generator=generator) - 1)  # waves of the tempo
    tokens = {}
    for name, (x, mask) in batch.tokens.items():
        frame = patches.get(name, 1)
        token = torch.arange(mask.shape[1])
        length = mask.sum(1, keepdim=True).cpu() // frame  # in frames; real tokens stand first
        time = (token // frame + 0.5) / length.clamp_min(1) * math.pi  # (B, N) from 0 to pi
        time = time + half * time.sin() + whole / 2 * (2 * time).sin()  # its slope is the tempo, within 1 +- share
        place = (time / math.pi * length - 0.5).minimum(length - 1).clamp_min(0)
        before = place.long()
        after = (before + 1).minimum(length - 1).clamp_min(0)
        near, far = (
            x.gather(1, (i * frame + token % frame).to(x.device)[..., None].expand_as(x)) for i in (before, after)
        )
        tokens[name] = Tokens(near.lerp(far, (place - before).to(x)[..., None]) * mask[..., None], mask)
    return batch._replace(tokens=tokens)


def scale(batch: Batch, share: float, generator: torch.Generator) -> Batch:
    """Multiplies each stream of each sample by a factor of its own, within 1 +- `share`."""
    tokens = {}
    for name, (x, mask) in batch.tokens.items():
        factor = 1 + share * (2 * torch.rand(len(mask), 1, 1, generator=generator) - 1)
        tokens[name] = Tokens(x * factor.to(x), mask)
    return batch._replace(tokens=tokens)


def hide_modalities(batch: Batch, p: float, generator: torch.Generator) -> Batch:
    """Hides each modality of each sample with probability `p`; every sample keeps at least one it has."""
    names = list(batch.tokens)
    draw = torch.rand(len(batch.ids), len(names), generator=generator)  # (B, M)
    present = torch.stack([batch.tokens[name].mask.any(1).cpu() for name in names], dim=1)  # (B, M)
    best = draw.masked_fill(~present, -1.0).argmax(1)
    keep = (draw >= p).scatter(1, best[:, None], True)
    tokens = {}
    for name, kept in zip(names, keep.unbind(1), strict=True):
        x, mask = batch.tokens[name]
        kept = kept.to(mask.device)[:, None]
        tokens[name] = Tokens(x * kept[:, :, None], mask & kept)
    return batch._replace(tokens=tokens)


def hide_tokens(batch: Batch, p: float, generator: torch.Generator) -> Batch:
    """Hides each of a stream's twelve equal spans with probability `p`; a stream keeps at least one it has tokens in.

    Spans follow each sample's real length.
    """
    tokens = {}
    for name, (x, mask) in batch.tokens.items():
        length = mask.sum(1, keepdim=True).cpu()
        span = (torch.arange(mask.shape[1]) * SPANS // length.clamp_min(1)).clamp_max(SPANS - 1)  # (B, N)
        draw = torch.rand(len(mask), SPANS, generator=generator)
        used = torch.zeros(len(mask), SPANS).scatter_add(1, span, mask.cpu().float()) > 0
        keep = (draw >= p).scatter(1, draw.masked_fill(~used, -1.0).argmax(1, keepdim=True), True)
        kept = mask & keep.gather(1, span).to(mask.device)
        tokens[name] = Tokens(x * kept[:, :, None], kept)
    return batch._replace(tokens=tokens)


def add_noise(batch: Batch, std: float, generator: torch.Generator) -> Batch:
    """Adds Gaussian noise of `std` to every feature of every real token."""
    tokens = {}
    for name, (x, mask) in batch.tokens.items():
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        tokens[name] = Tokens(x + std * noise * mask[..., None], mask)
    return batch._replace(tokens=tokens)
