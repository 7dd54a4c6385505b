"""What trained runs find in a few scenes: run folders and the rows of a split in; boxes to draw out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sparsefuse.config import Config
from sparsefuse.config.points import Channel
from sparsefuse.data.kept import Kept
from sparsefuse.data.manifest import Row
from sparsefuse.data.points.augment import fixed
from sparsefuse.data.points.batches import collate
from sparsefuse.data.points.dataset import CloudFiles
from sparsefuse.data.points.load import Opened, open_clouds
from sparsefuse.data.points.sample import Loaded, Reader
from sparsefuse.files.skipped import Unusable
from sparsefuse.layers.points.nouns import Boxes, Camera
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.point_facts import PointFacts
from sparsefuse.runs.point_weights import PointLoaded, load_point_model


class Shown(NamedTuple):
    """One scene."""

    id: str
    xyz: np.ndarray
    """(N, 3)"""
    colors: np.ndarray | None
    """(N, 3) uint8"""
    pictures: list[np.ndarray]
    """(H, W, 3) uint8"""
    cameras: list[Camera]
    known: Boxes
    """(1, M)"""
    answers: dict[str, Boxes]
    """by the name of the run, (1, M')"""


def shown_scenes(folders: Mapping[str, RunFolder], count: int, frames: int) -> list[Shown]:
    """`count` scenes of the test split, or of validation without one, evenly apart, with the first `frames` pictures
    of each, and what the runs find in them. None where their data is not here any more; runs of other scenes are left
    out."""
    first = next(iter(folders.values()))
    try:
        opened = open_clouds(first.read(Config), Path())
    except (FileNotFoundError, ValueError):
        return []
    facts = first.read(PointFacts)
    split = "test" if opened.rows.get("test") else "valid"
    models = {}
    for name, folder in folders.items():
        if folder.read(PointFacts).clips.get(split) == facts.clips.get(split):
            models[name] = load_point_model(folder)
    rows = _some(opened, split, count)
    return [one for row in rows if (one := _scene(row, opened.reader, facts, models, frames)) is not None]


def _some(opened: Opened, split: str, count: int) -> Sequence[Row]:
    rows = opened.rows[split]
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _scene(row: Row, reader: Reader, facts: PointFacts, models: Mapping[str, PointLoaded], frames: int) -> Shown | None:
    """None if it cannot be used."""
    given = _read(row, reader, ["color"], frames) or _read(row, reader, [], frames)
    if given is None or any(box.label not in facts.classes for box in given.boxes):
        return None
    answers = {name: found for name, loaded in models.items() if (found := _answer(row, reader, loaded)) is not None}
    scene = CloudFiles([row], reader, facts.classes, next(iter(models.values())).stats, Kept(0))[0]
    colors = (255 * given.x.numpy()).round().astype(np.uint8) if given.x.shape[1] else None
    pictures = [picture.numpy() for picture in given.pictures]
    return Shown(row.id, given.xyz.numpy(), colors, pictures, given.cameras, collate([scene]).boxes, answers)


def _read(row: Row, reader: Reader, channels: list[Channel], frames: int | None) -> Loaded | None:
    loaded = replace(reader, points=replace(reader.points, channels=channels, frames=frames)).read(row)
    return None if isinstance(loaded, Unusable) else loaded


@torch.inference_mode()
def _answer(row: Row, reader: Reader, loaded: PointLoaded) -> Boxes | None:
    """What the run finds, with the pictures that it reads."""
    facts, model = loaded.facts, loaded.model.eval()
    frames = facts.frames if model.reads_pictures else 0
    points = replace(reader.points, channels=facts.channels, frames=frames, height=facts.height, width=facts.width)
    try:
        scene = CloudFiles([row], replace(reader, points=points), facts.classes, loaded.stats, Kept(0))[0]
    except Unusable:
        return None
    batch = collate([fixed(scene, facts.num_points)])
    return model.boxes(model(batch.cloud, batch.pictures, batch.cameras))
