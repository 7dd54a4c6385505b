"""What trained runs say of a few scenes: run folders and the rows of a split in; arrays to draw out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.config import Config
from sparsefuse.data.manifest import Row
from sparsefuse.data.pixels.load import Opened, open_scenes
from sparsefuse.data.pixels.read import normalised
from sparsefuse.data.pixels.sample import Loaded, Reader
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.pixel_weights import PixelLoaded, load_pixel_model
from sparsefuse.tokens import Field


class Answer(NamedTuple):
    """What one run says of one scene."""

    values: np.ndarray
    """(H, W) numbers of classes, or (H, W, C) a picture from -1 to 1"""
    exchanged: dict[str, np.ndarray]
    """stream -> (H, W) share of the layers that replaced the token of this place; of streams that exchange"""


class Shown(NamedTuple):
    """One scene."""

    id: str
    streams: dict[str, np.ndarray]
    """(H, W, F) as measured; without those it lacks"""
    target: np.ndarray
    """(H, W) numbers of classes, or (H, W, F) as measured"""
    answers: dict[str, Answer]
    """by the name of the run"""


def shown_scenes(folders: Mapping[str, RunFolder], count: int) -> list[Shown]:
    """`count` scenes of the test split, or of validation without one, evenly apart, and what the runs say of them. None
    where their data is not here any more; runs of other scenes are left out."""
    first = next(iter(folders.values()))
    try:
        opened = open_scenes(first.read(Config), Path())
    except (FileNotFoundError, ValueError):
        return []
    facts = first.read(PixelFacts)
    split = "test" if opened.rows.get("test") else "valid"
    models = {}
    for name, folder in folders.items():
        if folder.read(PixelFacts).clips.get(split) == facts.clips.get(split):
            models[name] = load_pixel_model(folder)
    return [scene for row in _some(opened, split, count) if (scene := _scene(row, opened.reader, models)) is not None]


def _some(opened: Opened, split: str, count: int) -> Sequence[Row]:
    rows = opened.rows[split]
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _scene(row: Row, reader: Reader, models: Mapping[str, PixelLoaded]) -> Shown | None:
    """None without a usable target, or a stream."""
    loads = reader.read(row)
    streams = {name: one.x for name, one in loads.streams.items() if isinstance(one, Loaded)}
    if not isinstance(loads.target, Loaded) or not streams:
        return None
    answers = {name: _answer(loaded, streams) for name, loaded in models.items()}
    measured = {name: x.numpy() for name, x in streams.items()}
    return Shown(row.id, measured, loads.target.x.numpy(), {name: one for name, one in answers.items() if one})


@torch.inference_mode()
def _answer(loaded: PixelLoaded, streams: Mapping[str, Tensor]) -> Answer | None:
    """None if the run reads no stream that there is."""
    model = loaded.model.eval()
    given = {name: x for name, x in streams.items() if name in model.reads}
    if not given:
        return None
    fields: dict[str, Field | Tensor] = {name: x[None] for name, x in normalised(given, loaded.stats).items()}
    out = model(fields)
    size = out.logits.shape[1], out.logits.shape[2]
    values = out.logits[0].argmax(2) if loaded.facts.classes else out.logits[0]
    return Answer(values.numpy(), _exchanged(out.state.exchanged, size))


def _exchanged(layers: Mapping[str, Field], size: tuple[int, int]) -> dict[str, np.ndarray]:
    by_stream: dict[str, list[Tensor]] = {}
    for name, field in layers.items():
        replaced = (field.x[..., 0] * field.mask)[:, None].float()
        by_stream.setdefault(name.partition("@")[0], []).append(F.interpolate(replaced, size, mode="nearest")[0, 0])
    return {name: torch.stack(parts).mean(0).numpy() for name, parts in by_stream.items()}
