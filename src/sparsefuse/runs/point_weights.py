"""The model of a run on clouds: reads it from the run folder, and writes it there."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.data.points.sample import num_channels
from sparsefuse.data.points.scenes import PICTURES
from sparsefuse.data.stats import Stats
from sparsefuse.files import checkpoint
from sparsefuse.methods import points
from sparsefuse.model.points import DetectionModel
from sparsefuse.runs.described import at_most, check_shapes, one_sentence
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.point_facts import MOST_BOXES, MOST_POINTS, PointFacts
from sparsefuse.runs.records import check_count

PointStats = dict[str, tuple[Tensor, Tensor]]
"""`PICTURES` -> mean and standard deviation (3)"""
MOST_GROUPED = 2**26
"""points of all balls of a level"""
MOST_TOKENS = 2**16
"""of the pictures of a usual scene"""


class PointLoaded(NamedTuple):
    """What a run folder holds for prediction."""

    facts: PointFacts
    model: DetectionModel
    stats: PointStats


def build_point_model(facts: PointFacts) -> DetectionModel:
    """The model that model.json describes, with new weights. Raises ValueError if it describes none."""
    with one_sentence():
        return points.build(facts.method, num_channels(facts.channels), len(facts.classes), **facts.options)


def load_point_model(folder: RunFolder, facts: PointFacts | None = None) -> PointLoaded:
    """The best model of a run. Raises FileNotFoundError if there is none, ValueError if the files do not fit."""
    facts = facts or folder.read(PointFacts)
    _check_weights(facts, checkpoint.shapes(folder.weights))
    model = build_point_model(facts)
    return PointLoaded(facts, model, read_point_weights(folder, model))


def read_point_weights(folder: RunFolder, model: DetectionModel) -> PointStats:
    """Puts the best weights into the model; returns the normalisation beside them."""
    tensors = checkpoint.load(folder.weights).tensors
    checkpoint.restore_model(model, tensors)
    stats = Stats.from_tensors(tensors)
    return {name: (stats.mean[name], stats.std[name]) for name in stats.mean}


def write_point_weights(
    folder: RunFolder, model: DetectionModel, stats: Mapping[str, tuple[Tensor, Tensor]], facts: Mapping[str, float]
) -> None:
    """Writes the weights and the normalisation, with facts about their epoch."""
    means, deviations = ({name: pair[i] for name, pair in stats.items()} for i in (0, 1))
    tensors = {**checkpoint.model_tensors(model), **Stats(means, deviations).to_tensors()}
    checkpoint.save(folder.weights, tensors, facts)


def _check_weights(facts: PointFacts, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError unless the weights fit the model of model.json, and what no weight shows is of a size that runs
    have. Nothing is allocated, whatever model.json says."""
    with torch.device("meta"), at_most(100 + 2 * len(shapes)):
        model = build_point_model(facts)
    expected = {f"model/{name}": tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    expected |= {f"{part}/{PICTURES}": (3,) for part in ("mean", "std")}
    check_shapes(
        {name.removeprefix("model/"): shape for name, shape in shapes.items()},
        {name.removeprefix("model/"): shape for name, shape in expected.items()},
    )
    with one_sentence():
        check_count("proposals times classes", model.sampling.count * len(facts.classes), MOST_BOXES)
        for level in model.backbone.levels:
            check_count("points of a level", level.points, MOST_POINTS)
            check_count("neighbours of a level", level.points * level.most, MOST_GROUPED)
        if model.tokens is not None:
            rows, columns = (side // model.tokens.size.patch for side in facts.size)
            check_count("tokens of pictures", facts.pictures * rows * columns, MOST_TOKENS, least=0)
