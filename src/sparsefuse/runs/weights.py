"""The model of a run: reads it from the run folder, and writes it there."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.nn.modules import module as registry

from sparsefuse.cost import count
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.stats import Stats
from sparsefuse.files import checkpoint
from sparsefuse.methods import build
from sparsefuse.model import FusionModel
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
    with _one_sentence():
        return build(facts.method, dict(facts.features), outputs, lengths=dict(facts.lengths), **facts.options)


def _member(facts: ModelFacts, outputs: int, temperature: float) -> Member:
    """With new weights, and statistics that `read_weights` fills."""
    none = {name: torch.zeros(width) for name, width in facts.features.items()}
    stats = Stats(none, {name: x + 1 for name, x in none.items()}) if facts.normalised else None
    return Member(build_model(facts, outputs), fit_of(facts), stats, temperature)


def fit_of(facts: ModelFacts) -> Lengths:
    """How streams are fitted before the model sees them."""
    return Lengths(facts.max_length, facts.resample, facts.windows)


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
    with torch.device("cpu" if own else "meta"), _at_most(100 + 2 * len(stored)):
        model = build_model(facts)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if facts.normalised:
        statistics = {f"{kind}/{name}": (width,) for name, width in facts.features.items() for kind in ("mean", "std")}
        expected |= statistics
        stored |= {name: shapes[name] for name in statistics if name in shapes}
    for name in sorted(expected.keys() | stored.keys()):
        if expected.get(name) != stored.get(name):
            raise ValueError(
                f"model.safetensors does not hold the model that model.json describes: {name} has shape "
                f"{stored.get(name, 'none')}, expected {expected.get(name, 'none')}"
            )
    lengths = {name: facts.resample.get(name, length) for name, length in facts.lengths.items()}
    if facts.max_length:
        lengths = {name: min(length, facts.max_length) for name, length in lengths.items()}
    with _one_sentence():
        gmacs = facts.windows * count.total(model, {name: lengths[name] for name in model.modalities}) / 1e9
    if gmacs > MOST_GMACS:
        raise ValueError(f"model.json: one clip would cost {gmacs:,.0f} GMACs; expected {MOST_GMACS:,} at most")


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Whatever options of the wrong kind lead to, in the code that they are given to, is a ValueError."""
    try:
        yield
    except (ValueError, TypeError, LookupError, RuntimeError, AttributeError, ArithmeticError) as error:
        reason = str(error).strip().split("\n")[0][:300]
        raise ValueError(f"model.json does not describe a model that can be built: {reason}") from error


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """No more than `count` parameters and buffers are registered inside, on any module, and twice as many modules.

    Raises ValueError at the first one too many: a depth of a billion must not be built.
    """
    counts = {"weights": 0, "modules": 0}

    def weight(*_: object) -> None:
        counts["weights"] += 1
        if counts["weights"] > count:
            raise ValueError(f"it has far more weights than model.safetensors ({count} is enough)")

    def part(*_: object) -> None:
        counts["modules"] += 1
        if counts["modules"] > 100 + 20 * count:
            raise ValueError("it has far more modules than the weights in model.safetensors need")

    hooks = [
        registry.register_module_parameter_registration_hook(weight),
        registry.register_module_buffer_registration_hook(weight),
        registry.register_module_module_registration_hook(part),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
