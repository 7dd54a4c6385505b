"""The scenes that an exported model on pixels is checked on: those of the run, of a manifest, or noise."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.config import Config
from sparsefuse.config.pixels import PictureStream
from sparsefuse.data.manifest import GROUP
from sparsefuse.data.pixels.load import open_scenes
from sparsefuse.data.pixels.sample import Loaded
from sparsefuse.export.pixels.program import PictureInput
from sparsefuse.inference.pixels.predictor import PixelPredictor
from sparsefuse.runs.folder import RunFolder

log = logging.getLogger(__name__)

MOST_REAL = 24
"""scenes of the data: a graph is wrong for all or for none"""
NOISE_SIZES = ((1.0, 1.0), (0.5, 0.75), (1.25, 1.0))
"""rows and columns of scenes of noise, in those of training"""


class ParityScene(NamedTuple):
    """One scene."""

    id: str
    pictures: dict[str, Tensor]
    """stream -> (H, W, F) as measured, see `data.pixels.read`; a stream it lacks is left out"""


class ParityScenes(NamedTuple):
    """Scenes, and where they come from."""

    source: str
    """a description for the card"""
    scenes: list[ParityScene]
    real: bool


def of_data(
    run: Path, predictor: PixelPredictor, *, split: str = "valid", manifest: Path | None = None
) -> ParityScenes:
    """Scenes of a split of the run's own data, or of all rows of a manifest; none if the data is missing."""
    config = RunFolder(run).read(Config)
    if manifest is not None:
        config = replace(config, data=replace(config.data, manifest=str(manifest), group=GROUP))
    try:
        opened = open_scenes(config, Path(), divided=manifest is None)
    except FileNotFoundError as error:
        if manifest is not None:
            raise
        log.warning("the run's data is not here (%s): checked on noise; for real scenes give --manifest", error)
        return ParityScenes("", [], real=True)
    rows = opened.manifest.rows if manifest is not None else opened.rows[split]
    reader, scenes = replace(opened.reader, streams=dict(predictor.facts.streams)), []
    for row in rows:
        loads = reader.read(row).streams
        pictures = {name: one.x for name, one in loads.items() if isinstance(one, Loaded) and name in predictor.streams}
        if pictures and len({x.shape[:2] for x in pictures.values()}) == 1:
            scenes.append(ParityScene(row.id, pictures))
        if len(scenes) == MOST_REAL:
            break
    what = f"of {manifest.name}" if manifest is not None else f"of the run's {split} split"
    return ParityScenes(f"{len(scenes)} {what}", scenes, real=True)


def noise(predictor: PixelPredictor) -> ParityScenes:
    """Noise in pictures of several sizes: with all streams, and without each in turn."""
    generator = torch.Generator().manual_seed(0)
    names, rows, columns = predictor.streams, *predictor.facts.size
    scenes = []
    for lost in [None, *(names if len(names) > 1 else [])]:
        for down, across in NOISE_SIZES[: 1 if predictor.resize else None]:
            size = max(round(down * rows), 8), max(round(across * columns), 8)
            pictures = {
                name: _noise(predictor.facts.streams[name], predictor.stats[name], size, generator)
                for name in names
                if name != lost
            }
            scenes.append(ParityScene(f"noise of {size[0]} x {size[1]}, without {lost}", pictures))
    return ParityScenes(f"{len(scenes)} of noise, without each stream in turn", scenes, real=False)


def arguments(scenes: Sequence[ParityScene], inputs: Sequence[PictureInput]) -> list[Tensor]:
    """What the exported model takes of scenes together: smaller ones padded."""
    sizes = [next(iter(scene.pictures.values())).shape[:2] for scene in scenes]
    height, width = (max(size[i] for size in sizes) for i in (0, 1))
    tensors = []
    for spec in inputs:
        x = torch.zeros(len(scenes), height, width, spec.width)
        mask = torch.zeros(len(scenes), height, width, dtype=torch.bool)
        for i, (scene, (h, w)) in enumerate(zip(scenes, sizes, strict=True)):
            if spec.name in scene.pictures:
                x[i, :h, :w], mask[i, :h, :w] = scene.pictures[spec.name][..., : spec.width], True
        tensors += [x, mask]
    return tensors


def _noise(
    stream: PictureStream, stats: tuple[Tensor, Tensor], size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    mean, std = stats
    x = mean + std * torch.randn(*size, len(mean), generator=generator)
    if stream.kind != "depth":
        return x.clamp(-1 if stream.kind == "normal" else 0, 1)
    known = torch.rand(size, generator=generator) > 0.1
    metres = torch.where(known, x[..., 0].abs() + 1e-3, 0.0)
    return torch.stack([metres, known.float()], 2)
