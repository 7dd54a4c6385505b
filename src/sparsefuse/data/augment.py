"""Training batches made harder: cropped in time, noisy, with spans of tokens or modalities hidden.

All draws come from a generator on the CPU, so that they are the same on every device.
"""

import torch

from sparsefuse.config import Data
from sparsefuse.tokens import Batch, Tokens

SPANS = 12
"""Parts of a stream that `hide_tokens` hides or keeps whole: neighbours tell too much about a single hidden token."""


def augment(batch: Batch, data: Data, generator: torch.Generator) -> Batch:
    """Everything that the configuration asks for."""
    if data.modality_dropout:
        batch = hide_modalities(batch, data.modality_dropout, generator)
    if data.crop:
        batch = crop(batch, data.crop, generator)
    if data.token_dropout:
        batch = hide_tokens(batch, data.token_dropout, generator)
    if data.noise:
        batch = add_noise(batch, data.noise, generator)
    return batch


def crop(batch: Batch, share: float, generator: torch.Generator) -> Batch:
    """Cuts up to `share` of each sample off its two ends, the same part of all its streams, so that they stay aligned.

    Shapes stay as they are: what was cut becomes padding.
    """
    cut, before = torch.rand(2, len(batch.ids), 1, generator=generator)
    begin, end = share * cut * before, 1 - share * cut * (1 - before)  # (B, 1) in parts of the sample's length
    tokens = {}
    for name, (x, mask) in batch.tokens.items():
        length = mask.sum(1, keepdim=True).cpu()  # real tokens stand first
        first, last = (begin * length).floor().long(), (end * length).ceil().long()
        place = torch.arange(mask.shape[1]) + first  # (B, N) where each token comes from
        kept = (place < last).to(mask.device)
        place = place.clamp_max(mask.shape[1] - 1).to(mask.device)
        tokens[name] = Tokens(x.gather(1, place[..., None].expand_as(x)) * kept[..., None], kept)
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
