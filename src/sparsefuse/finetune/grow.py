"""Adds classes to a model: finds the weights that have a row per class, and appends rows."""

import copy

import torch

from sparsefuse.model import FusionModel
from sparsefuse.runs.records import ModelFacts
from sparsefuse.runs.weights import build_model


def class_weights(facts: ModelFacts, num_outputs: int) -> list[str]:
    """Names of the weights with a row per class: those whose shape depends on the number of outputs.

    Raises ValueError if classes are not their first dimension."""
    one, other = (_shapes(facts, count) for count in (num_outputs, num_outputs + 1))
    names = [name for name in one if one[name] != other[name]]
    for name in names:
        if one[name] != torch.Size((num_outputs, *other[name][1:])):
            raise ValueError(f"{facts.method}: weight {name} {tuple(one[name])} has no row per class; it cannot grow")
    return names


def _shapes(facts: ModelFacts, num_outputs: int) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: t.shape for name, t in build_model(facts, num_outputs).state_dict().items()}


def grown(model: FusionModel, facts: ModelFacts, before: int, now: int) -> FusionModel:
    """The model with `now` outputs in place of `before`: new rows are the mean of the others, which favours none."""
    if now == before:
        return copy.deepcopy(model)
    names, larger = class_weights(facts, before), build_model(facts, now)
    weights = model.state_dict()
    for name in names:
        mean = weights[name].mean(0, keepdim=True)
        weights[name] = torch.cat([weights[name], mean.expand(now - before, *mean.shape[1:])])
    larger.load_state_dict(weights)
    return larger.eval()
