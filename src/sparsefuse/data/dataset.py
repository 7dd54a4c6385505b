"""The dataset of one split: decoded and normalised samples by index."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import Dataset, get_worker_info

from sparsefuse.data.arrays import read_array
from sparsefuse.data.labels import Labels
from sparsefuse.data.lengths import WHOLE, Lengths
from sparsefuse.data.manifest import Row
from sparsefuse.data.prepare import Prepared, prepare
from sparsefuse.data.sample import Sample
from sparsefuse.data.stats import Stats

__all__ = ["ClipDataset", "Prepared", "Sample", "prepare"]


class ClipDataset(Dataset[Sample]):
    """Reads samples on demand and keeps them in memory while there is room.

    `rows` are usable ones from `prepare`, `root` is the manifest's folder. Without `stats` features stay as they
    are. `cache_mb` is in MiB over all worker processes.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        labels: Labels,
        root: Path,
        *,
        modalities: Sequence[str],
        stats: Stats | None = None,
        fit: Lengths = WHOLE,
        cache_mb: int = 4096,
    ) -> None:
        self.rows = list(rows)
        self.labels = labels
        self.root = root
        self.modalities = sorted(modalities)
        self.stats = stats
        self.fit = fit
        self.cache_mb = cache_mb
        self._cache: dict[int, Sample] = {}
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        if index in self._cache:
            return self._cache[index]
        sample = self._read(self.rows[index])
        worker = get_worker_info()
        size = sum(x.nbytes for x in sample.features.values())
        # First come, first kept: an epoch visits every sample once, so evicting the oldest would never hit.
        if self._cached_bytes + size <= self.cache_mb * 2**20 // (worker.num_workers if worker else 1):
            self._cache[index] = sample
            self._cached_bytes += size
        return sample

    def _read(self, row: Row) -> Sample:
        features = {}
        for name in self.modalities:
            if name in row.files:
                x = self.fit.fit(name, torch.from_numpy(read_array(row.files[name], self.root)))
                features[name] = self.stats.normalise(name, x) if self.stats else x
        return Sample(features, self.labels.encode(row.label), row.id)
