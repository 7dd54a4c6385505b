"""The dataset of one split of scenes: read and normalised samples by index."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sparsefuse.config.pixels import PictureStream
from sparsefuse.data.kept import Kept
from sparsefuse.data.manifest import Row
from sparsefuse.data.pixels.read import normalised
from sparsefuse.data.pixels.sample import Loaded, Loads, Reader
from sparsefuse.data.pixels.scenes import Scene
from sparsefuse.files.skipped import Unusable


class SceneFiles(Dataset[Scene]):
    """Reads the scenes of usable rows: a row's `files` names its usable streams only."""

    def __init__(
        self,
        rows: Sequence[Row],
        reader: Reader,
        stats: Mapping[str, tuple[Tensor, Tensor]],
        target_stats: tuple[Tensor, Tensor],
        kept: Kept[Loads],
    ) -> None:
        self.rows = list(rows)
        self.ids: Sequence[str] = [row.id for row in rows]
        self.reader, self.stats, self.target_stats, self.kept = reader, stats, target_stats, kept

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Scene:
        row = self.rows[index]
        loads = self.kept.get(row.id) or self.reader.read(row)
        fields = {name: _usable(loads.streams[name], row).x for name in sorted(row.files)}
        target = _usable(loads.target, row).x
        if self.reader.target is not None:
            target = as_target(target, self.reader.target, self.target_stats)
        return Scene(row.id, normalised(fields, self.stats), target)


def as_target(x: Tensor, stream: PictureStream, stats: tuple[Tensor, Tensor]) -> Tensor:
    """(H, W, F) of a picture as it was read -> (H, W, C) from -1 to 1; NaN where no depth was measured, or there is no
    normal."""
    mean, std = stats
    if stream.kind == "depth":
        return torch.where(x[..., 1:] > 0, (x[..., :1] - mean) / std, torch.nan)
    if stream.kind == "normal":
        return torch.where((x != 0).any(-1, keepdim=True), x, torch.nan)
    return (x - mean) / std


def _usable(loaded: Loaded | Unusable, row: Row) -> Loaded:
    """What was usable when the run began."""
    if isinstance(loaded, Unusable):
        raise Unusable(f"sample {row.id}: {loaded}; it was readable before")
    return loaded
