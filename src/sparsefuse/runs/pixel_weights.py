"""The model of a run on pictures: reads it from the run folder, and writes it there."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.cost import count
from sparsefuse.data.stats import Stats
from sparsefuse.files import checkpoint
from sparsefuse.methods import pixels
from sparsefuse.model.pixels import PixelModel
from sparsefuse.runs.described import at_most, check_shapes, one_sentence
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.weights import MOST_GMACS

PictureStats = dict[str, tuple[Tensor, Tensor]]
"""stream -> mean and standard deviation (F,)"""


class PixelLoaded(NamedTuple):
    """What a run folder holds for prediction."""

    facts: PixelFacts
    model: PixelModel
    stats: PictureStats


def build_pixel_model(facts: PixelFacts) -> PixelModel:
    """The model that model.json describes, with new weights. Raises ValueError if it describes none."""
    with one_sentence():
        return pixels.build(facts.method, dict(facts.channels), facts.outputs, task=facts.task, **facts.options)


def load_pixel_model(folder: RunFolder, facts: PixelFacts | None = None) -> PixelLoaded:
    """The best model of a run. Raises FileNotFoundError if there is none, ValueError if the files do not fit."""
    facts = facts or folder.read(PixelFacts)
    _check_weights(facts, checkpoint.shapes(folder.weights))
    model = build_pixel_model(facts)
    return PixelLoaded(facts, model, read_pixel_weights(folder, model))


def read_pixel_weights(folder: RunFolder, model: PixelModel) -> PictureStats:
    """Puts the best weights into the model; returns the normalisation beside them."""
    tensors = checkpoint.load(folder.weights).tensors
    checkpoint.restore_model(model, tensors)
    stats = Stats.from_tensors(tensors)
    return {name: (stats.mean[name], stats.std[name]) for name in stats.mean}


def write_pixel_weights(
    folder: RunFolder, model: PixelModel, stats: Mapping[str, tuple[Tensor, Tensor]], facts: Mapping[str, float]
) -> None:
    """Writes the weights and the normalisation, with facts about their epoch."""
    means, deviations = ({name: pair[i] for name, pair in stats.items()} for i in (0, 1))
    tensors = {**checkpoint.model_tensors(model), **Stats(means, deviations).to_tensors()}
    checkpoint.save(folder.weights, tensors, facts)


def _check_weights(facts: PixelFacts, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError unless the weights fit the model of model.json, and a scene costs at most `MOST_GMACS`. Nothing
    is allocated, whatever model.json says."""
    with torch.device("meta"), at_most(100 + 2 * len(shapes)):
        model = build_pixel_model(facts)
    expected = {f"model/{name}": tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, channels in facts.channels.items():
        expected |= {f"mean/{name}": (channels,), f"std/{name}": (channels,)}
    check_shapes(
        {name.removeprefix("model/"): shape for name, shape in shapes.items()},
        {name.removeprefix("model/"): shape for name, shape in expected.items()},
    )
    with one_sentence():
        gmacs = count.count_pixels(model, *facts.size) / 1e9
    if gmacs > MOST_GMACS:
        raise ValueError(f"model.json: one scene would cost {gmacs:,.0f} GMACs; expected {MOST_GMACS:,} at most")
