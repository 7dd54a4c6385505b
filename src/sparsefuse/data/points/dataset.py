"""The dataset of one split of scenes in space: whole scenes by index, their pictures normalised."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sparsefuse.data.kept import Kept
from sparsefuse.data.manifest import Row
from sparsefuse.data.points.read import Box
from sparsefuse.data.points.sample import Loaded, Reader
from sparsefuse.data.points.scenes import PICTURES, CloudScene
from sparsefuse.files.skipped import Unusable
from sparsefuse.layers.points.nouns import Camera


class CloudFiles(Dataset[CloudScene]):
    """Reads the scenes of usable rows."""

    def __init__(
        self,
        rows: Sequence[Row],
        reader: Reader,
        classes: Sequence[str],
        stats: Mapping[str, tuple[Tensor, Tensor]],
        kept: Kept[Loaded],
    ) -> None:
        self.rows = list(rows)
        self.ids: Sequence[str] = [row.id for row in rows]
        self.reader, self.stats, self.kept = reader, stats, kept
        self.numbers = {name: number for number, name in enumerate(classes)}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> CloudScene:
        row = self.rows[index]
        loaded = self.kept.get(row.id) or self.reader.read(row)
        if isinstance(loaded, Unusable):
            raise Unusable(f"sample {row.id}: {loaded}; it was readable before")
        boxes, labels = as_rows(loaded.boxes, self.numbers)
        pictures = normalised(loaded.pictures, self.stats)
        return CloudScene(row.id, loaded.xyz, loaded.x, pictures, together(loaded.cameras), boxes, labels)


def as_rows(boxes: Sequence[Box], numbers: Mapping[str, int]) -> tuple[Tensor, Tensor]:
    """(M, 7) of boxes, and their classes (M) by number."""
    rows = torch.tensor([box.row for box in boxes], dtype=torch.float32).view(-1, 7)
    return rows, torch.tensor([numbers[box.label] for box in boxes], dtype=torch.long)


def normalised(pictures: Sequence[Tensor], stats: Mapping[str, tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Pictures of 8 bits -> float, with mean 0 and deviation 1 by the run's `stats`."""
    mean, std = stats[PICTURES]
    return [(picture / 255 - mean) / std for picture in pictures]


def together(cameras: Sequence[Camera]) -> Camera:
    """Single cameras -> (C) of them."""
    if not cameras:
        return Camera(torch.zeros(0, 3, 3), torch.zeros(0, 4, 4), torch.zeros(0, 2, dtype=torch.long))
    return Camera(*(torch.stack(part) for part in zip(*cameras, strict=True)))
