"""Models that are described alike cost the same, and whatever decides a cost is in the description."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from sparsefuse.cost import count as counting
from sparsefuse.cost.structure import structure
from sparsefuse.methods import BASELINE, build, find, methods
from sparsefuse.model import FusionModel

FEATURES, LENGTHS = {"a": 5, "b": 4}, {"a": 6, "b": 9}


def model(name: str = "sft", **options: object) -> FusionModel:
    return build(name, FEATURES, 3, lengths=LENGTHS, **{**find(name).TEST, **options})


@pytest.fixture(autouse=True)
def passes(monkeypatch: pytest.MonkeyPatch) -> list[FusionModel]:
    """What passes through a model to be counted; nothing is known before."""
    monkeypatch.setattr(counting, "_KNOWN", {})
    made: list[FusionModel] = []

    def noted(counted: FusionModel, lengths: dict[str, int], own: Callable = counting._products) -> tuple[int, ...]:
        made.append(counted)
        return own(counted, lengths)

    monkeypatch.setattr(counting, "_products", noted)
    return made


@pytest.mark.parametrize("name", [name for name in methods() if name != BASELINE])
def test_a_model_like_one_that_was_counted_is_not_counted_again(name: str, passes: list[FusionModel]) -> None:
    first = counting.count(model(name), LENGTHS), counting.total(model(name), LENGTHS)
    made = len(passes)
    again = model(name).train()
    assert (counting.count(again, LENGTHS), counting.total(again, LENGTHS)) == first
    assert len(passes) == made
    counting.count(again, LENGTHS | {"b": 8})
    assert len(passes) > made


CHANGES: dict[str, Callable[[FusionModel], object]] = {
    "an option": lambda m: setattr(m.layers[0], "extra", 1),
    "one of another type": lambda m: setattr(m.layers[0], "extra", True),
    "one in a collection": lambda m: setattr(m.layers[0], "extra", {"a": [1, 2]}),
    "a layer": lambda m: m.layers.append(nn.Identity()),
    "a layer twice": lambda m: m.layers.append(m.layers[0]),
    "a shape": lambda m: setattr(m.head, "classify", nn.Linear(m.head.classify.in_features, 4)),
    "a type of numbers": lambda m: m.head.double(),
    "a class": lambda m: setattr(m.head.classify, "__class__", type("Other", (nn.Linear,), {})),
    "a buffer": lambda m: m.head.register_buffer("more", torch.zeros(2)),
    "a weight for two": lambda m: setattr(m.layers, "weight", m.head.classify.weight),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_decides_a_cost_is_described(change: Callable[[FusionModel], object]) -> None:
    changed = model()
    change(changed)
    assert structure(changed) is not None
    assert structure(changed) != structure(model())
    assert structure(model()) == structure(model())


def test_weights_that_are_shared_are_not_those_that_are_alike() -> None:
    one, two = nn.Linear(3, 3), nn.Linear(3, 3)
    assert structure(nn.Sequential(one, one)) != structure(nn.Sequential(one, two))
    assert structure(nn.Sequential(one, one)) == structure(nn.Sequential(two, two))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.head.register_forward_hook(lambda *_: None),
        lambda m: m.head.register_forward_pre_hook(lambda *_: None),
        lambda m: setattr(m.head, "forward", lambda state: next(iter(state.streams.values())).x[:, 0, :3]),
        lambda m: setattr(m.head, "extra", torch.ones(2)),
    ],
    ids=["hook", "hook before", "another forward", "a tensor"],
)
def test_what_cannot_be_told_is_counted_each_time(
    change: Callable[[FusionModel], object], passes: list[FusionModel]
) -> None:
    odd = model()
    change(odd)
    assert structure(odd) is None
    counting.total(odd, LENGTHS)
    counting.total(odd, LENGTHS)
    assert len(passes) == 2


def test_few_are_remembered(monkeypatch: pytest.MonkeyPatch, passes: list[FusionModel]) -> None:
    monkeypatch.setattr(counting, "_MOST", 2)
    known = model()
    for length in (2, 3, 4, 4, 2):
        counting.total(known, LENGTHS | {"b": length})
    assert len(passes) == 4
    assert len(counting._KNOWN) == 2
