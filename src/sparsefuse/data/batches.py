"""Samples gathered: which ones go together, how they are padded, and which modalities are hidden."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from sparsefuse.data.sample import Sample
from sparsefuse.tokens import Batch, Tokens

CHUNK = 8
"""Batches that are sorted by length together: more saves padding, fewer mixes the samples better."""

SPANS = 12
"""Parts of a stream that `hide_tokens` hides or keeps whole: neighbours tell too much about a single hidden token."""


def collate(samples: Sequence[Sample], features: Mapping[str, int]) -> Batch:
    """Pads samples to (B, N, F) per modality, N the longest in the batch; padding is 0 and masked.

    `features` (modality -> F) names the model's modalities: what no sample has becomes one masked token each.
    """
    tokens = {}
    for name in sorted(features):
        streams = [sample.features.get(name, torch.empty(0, features[name])) for sample in samples]
        lengths = torch.tensor([len(x) for x in streams])
        padded = torch.zeros(len(samples), max(1, *map(len, streams), 0), features[name])
        for x, row in zip(streams, padded, strict=True):
            row[: len(x)] = x
        tokens[name] = Tokens(padded, torch.arange(padded.shape[1]) < lengths[:, None])
    return Batch(tokens, torch.stack([sample.label for sample in samples]), [sample.id for sample in samples])


class LengthBuckets:
    """Batches of indices, samples of similar length together; a pure function of seed and epoch.

    With several processes, each takes every world-th index of the same global batches. All have equally many batches,
    but in a batch shorter than `world` some get an empty list.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, *, seed: int, shuffle: bool, rank: int = 0, world: int = 1
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def epoch(self, epoch: int) -> list[list[int]]:
        """The batches of one epoch: every index once, the short batch anywhere. Unshuffled: by length, then index."""
        if self.shuffle:
            rng = np.random.default_rng([self.seed, epoch])
            order = rng.permutation(len(self.lengths))
            size = CHUNK * self.batch_size
            chunks = [self._by_length(order[i : i + size]) for i in range(0, len(order), size)]
            batches = [batch for chunk in chunks for batch in self._cut(chunk)]
            batches = [batches[i] for i in rng.permutation(len(batches))]
        else:
            batches = self._cut(self._by_length(np.arange(len(self.lengths))))
        return [batch[self.rank :: self.world] for batch in batches]

    def _by_length(self, indices: np.ndarray) -> np.ndarray:
        return indices[np.argsort(self.lengths[indices], kind="stable")]

    def _cut(self, indices: np.ndarray) -> list[list[int]]:
        return [indices[i : i + self.batch_size].tolist() for i in range(0, len(indices), self.batch_size)]


def hide_modalities(batch: Batch, p: float, generator: torch.Generator) -> Batch:
    """Hides each modality of each sample with probability `p`; every sample keeps at least one it has.

    `generator` is on the CPU, so that the same ones are hidden on every device.
    """
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

    Spans follow each sample's real length. `generator` is on the CPU, as for `hide_modalities`.
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
