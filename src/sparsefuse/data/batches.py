"""Batches: which samples go together, and how they are padded."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from sparsefuse.data.sample import Sample
from sparsefuse.tokens import Batch, Tokens

CHUNK = 8
"""Batches per chunk that is sorted by length: more saves padding, fewer mixes the samples better."""


def collate(samples: Sequence[Sample], features: Mapping[str, int]) -> Batch:
    """Pads samples to (B, N, F) per modality, N the longest in the batch; padding is 0 and masked.

    `features` (modality -> F) names the model's modalities: one that no sample has becomes a single masked token.
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

    With `chances`, one per sample, an epoch draws as many samples as there are by them, with replacement.

    With several processes, each takes every world-th index of the same global batches. All have equally many batches,
    but in a batch shorter than `world` some get an empty list.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        chances: Sequence[float] | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.chances = chances
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def epoch(self, epoch: int) -> list[list[int]]:
        """The batches of one epoch: every index once, the short batch anywhere. Unshuffled: by length, then index."""
        if self.shuffle:
            rng = np.random.default_rng([self.seed, epoch])
            count = len(self.lengths)
            order = rng.permutation(count) if self.chances is None else rng.choice(count, count, p=self.chances)
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
