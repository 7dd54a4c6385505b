"""The model of a run: reads it from the run folder, and writes it there."""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from sparsefuse.cost import count
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.stats import Stats
from sparsefuse.files import checkpoint
from sparsefuse.methods import build
from sparsefuse.model import FusionModel
from sparsefuse.runs.described import at_most, check_shapes, one_sentence
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.members import Member, ensemble_of, members_of
from sparsefuse.runs.records import ModelFacts

MOST_GMACS = 10_000
"""multiply-adds in 1e9 that a clip may cost: more than any published video model's"""


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
    if facts.members is not None:
        pairs = zip(facts.members, facts.models, strict=True)
        return ensemble_of([_member(model, outputs, member.temperature) for member, model in pairs])
    with one_sentence():
        return build(facts.method, dict(facts.features), outputs, lengths=dict(facts.lengths), **facts.options)


def _member(facts: ModelFacts, outputs: int, temperature: float) -> Member:
    """With new weights, and statistics that `read_weights` fills."""
    none = {name: torch.zeros(width) for name, width in facts.features.items()}
    stats = Stats(none, {name: x + 1 for name, x in none.items()}) if facts.normalised else None
    return Member(build_model(facts, outputs), fit_of(facts), stats, temperature)


def fit_of(facts: ModelFacts) -> Lengths:
    """How streams are fitted before the model sees them."""
    return Lengths(facts.max_length, facts.resample, facts.windows, facts.patches)


def check_trusted(folder: RunFolder, facts: ModelFacts, *, trust_code: bool) -> None:
    """Raises ValueError for a run whose method or extractor is a .py file, unless its code is trusted."""
    for code in facts.code:
        if code.endswith(".py") and not trust_code:
            raise ValueError(
                f"{folder.path} needs the code in {code}; read it, then load with trust_code=True (--trust-code)"
            )


def load_model(folder: RunFolder, facts: ModelFacts | None = None) -> Loaded:
    """The best model of a run. Raises FileNotFoundError if there is none, ValueError if the files do not fit."""
    facts = facts or folder.read(ModelFacts)
    _check_weights(facts, checkpoint.shapes(folder.weights))
    model = build_model(facts)
    stats = read_weights(folder, model)
    return Loaded(facts, model, stats if facts.normalised else None)


def read_weights(folder: RunFolder, model: FusionModel) -> Stats | None:
    """Puts the best weights into the model; returns the normalisation beside them."""
    tensors = checkpoint.load(folder.weights).tensors
    checkpoint.restore_model(model, tensors)
    stats = Stats.from_tensors(tensors)
    for name, std in model.head.named_buffers() if members_of(model) else ():
        if name.endswith(".std") and not (std > 0).all():
            raise ValueError(f"{name} is {float(std.min()):g}; expected values above 0")
    return stats if stats.mean else None


def write_weights(folder: RunFolder, model: FusionModel, stats: Stats | None, facts: Mapping[str, float]) -> None:
    """Writes the weights, with facts about their epoch."""
    tensors = {**checkpoint.model_tensors(model), **(stats.to_tensors() if stats else {})}
    checkpoint.save(folder.weights, tensors, facts)


def _check_weights(facts: ModelFacts, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError unless the weights fit the model of model.json, and a clip costs at most `MOST_GMACS`.

    Nothing is allocated, whatever model.json says; but code of the user's own may not run on the meta device.
    """
    stored = {name.removeprefix("model/"): shape for name, shape in shapes.items() if name.startswith("model/")}
    own = any(model.method.endswith(".py") for model in facts.models)
    with torch.device("cpu" if own else "meta"), at_most(100 + 2 * len(stored)):
        model = build_model(facts)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if facts.normalised:
        statistics = {f"{kind}/{name}": (width,) for name, width in facts.features.items() for kind in ("mean", "std")}
        expected |= statistics
        stored |= {name: shapes[name] for name in statistics if name in shapes}
    check_shapes(stored, expected)
    lengths = {name: facts.resample.get(name, length) for name, length in facts.lengths.items()}
    if facts.max_length:
        lengths = {name: min(length, facts.max_length) for name, length in lengths.items()}
    with one_sentence():
        gmacs = facts.windows * count.total(model, {name: lengths[name] for name in model.modalities}) / 1e9
    if gmacs > MOST_GMACS:
        raise ValueError(f"model.json: one clip would cost {gmacs:,.0f} GMACs; expected {MOST_GMACS:,} at most")
