"""The model of a run: reads it from the run folder, and writes it there."""

from collections.abc import Mapping
from typing import NamedTuple

from sparsefuse.data.stats import Stats
from sparsefuse.files import checkpoint
from sparsefuse.methods import build
from sparsefuse.model import FusionModel
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts


class Loaded(NamedTuple):
    """What a run folder holds for prediction."""

    facts: ModelFacts
    model: FusionModel
    stats: Stats | None
    """None if features are not normalised"""


def build_model(facts: ModelFacts, num_outputs: int | None = None) -> FusionModel:
    """The model that model.json describes, with new weights; `num_outputs` in place of those of its labels. Raises
    ValueError if it describes none."""
    outputs = num_outputs or facts.labels.num_outputs
    try:
        return build(facts.method, dict(facts.features), outputs, lengths=dict(facts.lengths), **facts.options)
    except (ValueError, TypeError, RuntimeError, AttributeError, OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"model.json does not describe a model that can be built: {error}") from error


def load_model(folder: RunFolder, facts: ModelFacts | None = None) -> Loaded:
    """The best model of a run. Raises FileNotFoundError if there is none, ValueError if the files do not fit."""
    facts = facts or folder.read(ModelFacts)
    model = build_model(facts)
    stats = read_weights(folder, model)
    widths = {name: (width,) for name, width in facts.features.items()}
    kinds = (stats.mean, stats.std) if stats else ({},)
    if facts.normalised and any({name: tuple(x.shape) for name, x in kind.items()} != widths for kind in kinds):
        raise ValueError(f"{folder.weights} lacks the mean and std of features, which model.json calls normalised")
    return Loaded(facts, model, stats if facts.normalised else None)


def read_weights(folder: RunFolder, model: FusionModel) -> Stats | None:
    """Puts the best weights into the model; returns the normalisation beside them."""
    tensors = checkpoint.load(folder.weights).tensors
    checkpoint.restore_model(model, tensors)
    stats = Stats.from_tensors(tensors)
    return stats if stats.mean else None


def write_weights(folder: RunFolder, model: FusionModel, stats: Stats | None, facts: Mapping[str, float]) -> None:
    """Writes the weights, with facts about their epoch."""
    tensors = {**checkpoint.model_tensors(model), **(stats.to_tensors() if stats else {})}
    checkpoint.save(folder.weights, tensors, facts)
