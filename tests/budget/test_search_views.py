"""The search for LoCoMT's views: what is hardened, what it may cost, and a search end to end."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml

import tiny
from sparsefuse.budget.views import ViewBudget, harden, search_views
from sparsefuse.layers.views import STRATEGIES
from sparsefuse.training.train import train

# self costs 34, a+b 30
LENGTHS = {"a": 3, "b": 5}


def budget(most: int) -> ViewBudget:
    return ViewBudget(("a", "b"), LENGTHS, num_heads=2, depth=2, most=most)


SHARES = [torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([[0.6, 0.4], [0.7, 0.3]])]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (136, [{"self": 1, "a+b": 1}, {"self": 2}]),  # 34 + 30 + 34 + 34 = 132: the likeliest views
        (132, [{"self": 1, "a+b": 1}, {"self": 2}]),
        (131, [{"self": 1, "a+b": 1}, {"self": 1, "a+b": 1}]),  # the head at 0.6 against 0.4 loses least
        (127, [{"self": 1, "a+b": 1}, {"a+b": 2}]),
        (120, [{"a+b": 2}, {"a+b": 2}]),
    ],
)
def test_hardened_views_are_the_likeliest_within_the_budget(most: int, expected: list) -> None:
    assert harden(SHARES, budget(most)) == expected
    assert budget(most).products(expected) <= most


def test_a_strategy_crosses_no_more_than_the_budget_asks() -> None:
    for name in STRATEGIES:
        assert budget(136).strategy(name) == [{"self": 2}] * 2
        assert sum(layer.get("a+b", 0) for layer in budget(131).strategy(name) or []) == 2
        assert budget(119).strategy(name) is None


@pytest.fixture
def config(tmp_path: Path):
    whole = tiny.config(tiny.write_set(tmp_path / "data"), "locomt")
    return dataclasses.replace(
        whole, options={"locomt": {"dim": 4, "num_heads": 2, "unimodal_depth": 0, "fusion_depth": 2}}
    )


# Clips of 3 and 5 tokens: with CLS self costs 52 and the pair 48, twice (q k, weights v) in four heads 2 wide. All
# heads apart cost 3.676e-6; this budget makes three of them cross.
GMACS = 3.676e-6 - 2.5 * (52 - 48) * 2 * 2 * 1e-9


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_a_search_ends_with_views_within_the_budget_beside_the_strategies(config, tmp_path: Path) -> None:
    out = tmp_path / "views"
    found = search_views(config, GMACS, out, root=Path(), seeds=[0], draws=1, jobs=1)
    assert not found.table.failed
    names = {json.loads(path.read_text())["name"] for path in out.glob("runs/*/result.json")}
    assert names == {"found", *(set(STRATEGIES) - {"random"}), "random 0"}
    for path in out.glob("runs/*/result.json"):
        result = json.loads(path.read_text())
        assert result["cost"]["gmacs"] <= GMACS
        assert result["test"]
    assert sum(layer.get("rgb+sound", 0) for layer in found.views) >= 3
    assert not json.loads((out / "relaxed" / "result.json").read_text())["test"]
    written = yaml.safe_load(found.yaml.read_text())
    assert written["options"]["locomt"]["views"] == found.views


def test_a_budget_that_no_views_keep_says_what_they_cost(config, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no views cost 1e-09 GMACs or less: they cost from .* to .*; raise --gmacs"):
        search_views(config, 1e-9, tmp_path / "views", root=Path())


def test_one_modality_leaves_nothing_to_choose(config, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="views are a choice between modalities; the clips have one, 'rgb'"):
        search_views(tiny.with_data(config, modalities=["rgb"]), 1.0, tmp_path / "views", root=Path())


def test_a_finished_relaxed_run_is_of_the_same_clips(config, tmp_path: Path) -> None:
    relaxed = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=1))
    options = {"locomt": {**config.options["locomt"], "views": "learned", "view_price": 0.1}}
    train(dataclasses.replace(relaxed, options=options), tmp_path / "views/relaxed", measured=False, tested=False)
    tiny.write_set(tmp_path / "data", seed=1)
    with pytest.raises(ValueError, match="relaxed was started with other contents of these clips"):
        search_views(relaxed, 1.0, tmp_path / "views", root=Path())
    tiny.write_set(tmp_path / "data", counts=(10, 4, 4))
    with pytest.raises(ValueError, match=r"relaxed was started with other clips .train 9 -> 10 clips"):
        search_views(relaxed, 1.0, tmp_path / "views", root=Path())
