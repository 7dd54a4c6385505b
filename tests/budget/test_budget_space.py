"""What a search may propose: options that `build` takes, and none that the budget does not allow."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import tiny
from sparsefuse.budget import limits as pricing
from sparsefuse.budget.limits import BudgetLimits, Prices
from sparsefuse.budget.proposals import Proposals, affordable
from sparsefuse.budget.space import Choice, Range, space_of
from sparsefuse.cost.latency import Latency
from sparsefuse.data.clips import Clips, load_clips
from sparsefuse.methods import build, methods
from sparsefuse.tokens import Tokens

LENGTHS = {"rgb": 30, "sound": 100}
CONFIGURED = {"sft": {"keep": 2, "fusion_depth": 3, "dim": 10, "num_heads": 2}, "late": {"dim": 10, "num_heads": 2}}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return load_clips(tiny.config(tiny.write_set(tmp_path_factory.mktemp("data"))).data, Path())


def prices_of(clips: Clips, folder: Path, **limits: float) -> Prices:
    return Prices(BudgetLimits(**limits), clips, "cpu", folder / "candidates.jsonl")


def asked(prices: Prices, *, seed: int = 0, count: int = 6, told: float = 0.5) -> tuple[list, Proposals]:
    """Candidates for sft and late, each told to be as good as the last."""
    spaces, starts = affordable(CONFIGURED, prices)
    proposals = Proposals(spaces, starts, prices, seed=seed, higher_is_better=True)
    found = []
    for _ in range(count):
        candidate = proposals.ask()
        assert candidate
        found.append(candidate)
        proposals.tell(candidate, told)
    return found, proposals


def test_what_a_model_reads_is_searched_if_asked_for(clips: Clips, tmp_path: Path) -> None:
    three = {"a": 3, "b": 4, "c": 5}
    assert "modalities" not in space_of("sft", {}, three, ["all"]).axes
    read = space_of("sft", {}, three, ["each", "leave-one-out"]).axes["modalities"]
    lists = [["a", "b", "c"], ["a"], ["b"], ["c"], ["b", "c"], ["a", "c"], ["a", "b"]]
    assert read == Choice(tuple(map(json.dumps, lists)), '["a", "b", "c"]')
    of_two = space_of("sft", {"modalities": ["b", "c"]}, three, ["leave-one-out"])
    assert of_two.options({"modalities": '["c"]', "num_heads": 1}) == {"modalities": ["c"], "num_heads": 1, "dim": 8}
    assert of_two.axes["modalities"] == Choice(('["b", "c"]', '["c"]', '["b"]'), '["b", "c"]')
    assert "modalities" not in space_of("unimodal", {"modality": "a"}, three, ["each"]).axes

    prices = prices_of(clips, tmp_path, gmacs=1.0)
    spaces, starts = affordable({"sft": CONFIGURED["sft"]}, prices, ["each"])
    assert [point["modalities"] for _, point in starts] == ['["rgb", "sound"]', '["rgb"]']  # rgb is shorter
    proposals = Proposals(spaces, starts, prices, seed=0, higher_is_better=True)
    found = [proposals.ask() for _ in range(6)]
    assert {len(one.options["modalities"]) for one in found} == {1, 2}
    single = next(one for one in found if one.options["modalities"] == ["rgb"])
    model = build("sft", clips.features, 3, lengths=clips.longest, **single.options)
    assert model.modalities == ("rgb",)


def test_the_axes_of_sft_are_the_issues() -> None:
    space = space_of("sft", {"keep": {"rgb": 8, "sound": 20}, "drop": 0.1, "fusion_depth": 4}, LENGTHS)
    patterns = ("dense", "strided", "fixed", "local")
    assert space.axes == {
        "keep.rgb": Range(1, 30, 8, 1),
        "keep.sound": Range(1, 100, 20, 1),
        "unimodal_depth": Range(1, 1, 1, 1),
        "fusion_depth": Range(1, 4, 4, 1),
        "num_heads": Range(1, 10, 5, 1),
        "sparse": Choice(("strided", "fixed", "local", "dense", "none"), "strided"),
        "unimodal_attention": Choice(patterns, "dense"),
    }
    assert space.fixed == {"drop": 0.1}
    point = {"keep.rgb": 3, "keep.sound": 4, "num_heads": 2, "fusion_depth": 2, "sparse": "none"}
    options = {"keep": {"rgb": 3, "sound": 4}, "num_heads": 2, "dim": 16, "fusion_depth": 2, "sparse": "none"}
    assert space.options(point) == {**options, "drop": 0.1}


def test_a_stride_is_searched_where_tokens_are_not_kept_by_number() -> None:
    assert space_of("concat", {}, LENGTHS).axes["stride"] == Range(1, 130, 1, 130)
    assert space_of("late", {"stride": 4}, LENGTHS).axes["stride.sound"] == Range(1, 100, 4, 100)
    chosen = space_of("sft", {"stride": 4}, LENGTHS)
    assert {"stride.rgb", "stride.sound"} <= chosen.axes.keys()
    assert not any(axis.startswith("keep") for axis in chosen.axes)


MINE = """
from typing import Literal
from sparsefuse.methods import sft

def build(features, num_classes, *, lengths=None, fusion_depth: int = 3, dim: int = 10, keep: int = 4, zeal: int = 9,
          num_experts: int = 3, way: Literal["dense", "local"] = "dense", how: Literal["fast", "slow"] = "fast"):
    return sft.build(features, num_classes, lengths=lengths, fusion_depth=fusion_depth, dim=dim, num_heads=1, keep=keep)
"""


def test_a_users_method_takes_part_by_its_signature(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    assert space_of(str(tmp_path / "mine.py"), {"fusion_depth": 2}, LENGTHS).axes == {
        "fusion_depth": Range(1, 2, 2, 1),
        "dim": Range(1, 20, 10, 1),
        "keep": Range(1, 130, 4, 1),
        "num_experts": Range(1, 6, 3, 1),
        "way": Choice(("dense", "local"), "dense"),
    }


@pytest.mark.parametrize("method", methods())
def test_every_method_builds_from_the_configured_to_the_cheapest_options(method: str) -> None:
    space = space_of(method, {}, LENGTHS)
    cheapest = {name: axis.values[-1] for name, axis in space.axes.items() if isinstance(axis, Choice)}
    for t in (0.0, 0.5, 1.0):
        build(method, tiny.FEATURES, 3, lengths=LENGTHS, **space.options(space.toward_cheap(t, cheapest)))
    start = space.toward_cheap(0, cheapest)
    assert all(start[name] == axis.start for name, axis in space.axes.items())


def test_half_way_to_the_cheapest_is_half_way_of_the_logarithm() -> None:
    assert [Range(1, 100, 64, 1).toward_cheap(t) for t in (0, 0.5, 1)] == [64, 8, 1]
    assert [Range(1, 100, 1, 100).toward_cheap(t) for t in (0, 0.5, 1)] == [1, 10, 100]


@pytest.mark.slow
@pytest.mark.usefixtures("definition")
def test_no_candidate_is_over_the_budget(clips: Clips, tmp_path: Path) -> None:
    """Counted by PyTorch's own counter, which takes a multiply-add for 2."""
    limits = {"gmacs": 1e-5, "parameters": 2500}
    found, proposals = asked(prices_of(clips, tmp_path, **limits), count=16)
    assert proposals.rejected > 3, "the budget must bind for this test to say much"
    assert {candidate.method for candidate in found} == {"sft", "late"}
    for candidate in found:
        model = build(candidate.method, clips.features, 3, lengths=clips.longest, **candidate.options)
        clip = {
            name: Tokens(torch.randn(1, n, clips.features[name]), torch.ones(1, n, dtype=torch.bool))
            for name, n in clips.typical.items()
        }
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            model.eval().requires_grad_(False)(clip)
        numbers = sum(p.numel() for p in model.parameters())
        assert counter.get_total_flops() / 2e9 == pytest.approx(candidate.costs["gmacs"])
        assert counter.get_total_flops() / 2e9 <= limits["gmacs"]
        assert numbers == candidate.costs["parameters"] <= limits["parameters"]


@pytest.mark.slow
def test_candidates_follow_from_the_seed_and_the_answers(clips: Clips, tmp_path: Path) -> None:
    prices = prices_of(clips, tmp_path, gmacs=1e-5)
    first, _ = asked(prices)
    assert asked(prices)[0] == first
    assert asked(prices, seed=1)[0] != first


@pytest.mark.slow
def test_no_candidate_comes_twice(clips: Clips, tmp_path: Path) -> None:
    """What is left when almost nothing may change is tried once, and then there is no more."""
    prices = prices_of(clips, tmp_path, gmacs=1.0)
    configured = {"concat": {"dim": 2, "num_heads": 1, "fusion_depth": 1, "stride": 9}}
    spaces, starts = affordable(configured, prices)
    proposals = Proposals(spaces, starts, prices, seed=0, higher_is_better=True)
    seen = []
    while candidate := proposals.ask():
        seen.append(str(candidate.options))
        proposals.tell(candidate, 0.5)
    assert len(seen) == len(set(seen)) == 2 * sum(clips.typical.values())  # one or two heads, any stride


@pytest.mark.slow
def test_the_first_candidates_are_the_configured_options_and_cheaper_ones(clips: Clips, tmp_path: Path) -> None:
    whole = prices_of(clips, tmp_path, gmacs=1.0)
    (own, cheap, *_), _ = asked(whole, count=4)
    assert own.options["fusion_depth"] == 3
    assert own.options["keep"] == {"rgb": 2, "sound": 2}
    assert cheap.costs["gmacs"] < own.costs["gmacs"]
    tight = prices_of(clips, tmp_path, gmacs=0.7 * own.costs["gmacs"])
    (nearest, cheap), _ = asked(tight, count=2)
    assert cheap.costs["gmacs"] < nearest.costs["gmacs"] <= 0.7 * own.costs["gmacs"]


@pytest.mark.slow
def test_a_budget_below_the_cheapest_model_names_the_lowest_cost(clips: Clips, tmp_path: Path) -> None:
    prices = prices_of(clips, tmp_path, gmacs=1e-9)
    with pytest.raises(ValueError, match=r"below the cheapest model that was found: sft needs .* of 1e-09 GMACs; late"):
        affordable(CONFIGURED, prices)
    lowest = min(line["gmacs"] for line in prices.costs.values() if "gmacs" in line)
    spaces, _ = affordable(CONFIGURED, prices_of(clips, tmp_path, gmacs=1.01 * lowest))
    assert len(spaces) == 1


def test_a_method_that_cannot_keep_the_budget_is_left_out_with_a_warning(
    clips: Clips, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configured = {**CONFIGURED, "late": {"dim": 200, "num_heads": 1, "unimodal_depth": 1}}
    spaces, _ = affordable(configured, prices_of(clips, tmp_path, parameters=2000))
    assert spaces.keys() == {"sft"}
    assert "left out: late needs" in caplog.text


def test_options_that_cannot_be_built_are_an_error_if_they_are_configured(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep lacks modality 'sound'"):
        affordable({"sft": {"keep": {"rgb": 2}}}, prices_of(clips, tmp_path, gmacs=1.0))


@pytest.mark.slow
def test_candidates_that_exclude_another_option_are_passed_over(clips: Clips, tmp_path: Path) -> None:
    """Pooling by attention needs a sparse layer."""
    configured = {"sft": {**CONFIGURED["sft"], "pool": "attn"}}
    prices = prices_of(clips, tmp_path, gmacs=1.0)
    spaces, starts = affordable(configured, prices)
    proposals = Proposals(spaces, starts, prices, seed=0, higher_is_better=True)
    patterns = set()
    for _ in range(12):
        candidate = proposals.ask()
        assert candidate
        patterns.add(candidate.options["sparse"])
        proposals.tell(candidate, 0.5)
    assert len(patterns) > 2
    assert "none" not in patterns


def test_costs_are_measured_only_under_a_limit_and_once(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    found = Latency(4.0, 3.0, 0.5, 30, load=0.0)
    monkeypatch.setattr(pricing, "forward_latency", lambda *_: calls.append("latency") or found)
    monkeypatch.setattr(pricing, "memory_mb", lambda *_: calls.append("memory") or 2.0)
    options = {**CONFIGURED["late"], "unimodal_depth": 1}
    assert prices_of(clips, tmp_path / "a", gmacs=1.0).of("late", options).keys() == {"gmacs", "parameters"}
    assert calls == []
    prices = prices_of(clips, tmp_path / "b", gmacs=1.0, latency_ms=5, memory_mb=1)
    assert prices.of("late", options)["memory_mb"] == 2.0
    assert calls == ["memory"], "over one limit, it need not be held against the next"
    assert prices.of("late", options, all_costs=True)["latency_ms"] == 4.0
    calls.clear()
    again = prices_of(clips, tmp_path / "b", gmacs=1.0, latency_ms=5, memory_mb=1)
    assert again.of("late", options, all_costs=True)["latency_ms"] == 4.0
    assert calls == [], "a search that is continued decides as it did"


def test_on_a_busy_machine_the_fastest_run_counts_and_a_warning_says_so(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = Latency(1587.0, 1.25, 900.0, 30, load=1.6, doubt="other programs kept 1.6 of 2 cores busy")
    monkeypatch.setattr(pricing, "forward_latency", lambda *_: found)
    prices = prices_of(clips, tmp_path, latency_ms=5)
    assert prices.of("late", {"dim": 10, "num_heads": 2})["latency_ms"] == 1.25
    assert "not the median: other programs kept 1.6 of 2 cores busy" in caplog.text


def test_a_line_that_a_kill_cut_off_is_dropped(clips: Clips, tmp_path: Path) -> None:
    prices = prices_of(clips, tmp_path, gmacs=1.0)
    prices.of("late", {"dim": 10, "num_heads": 2})
    prices.path.write_text(prices.path.read_text() + '{"method": "la')
    again = prices_of(clips, tmp_path, gmacs=1.0)
    again.of("late", {"dim": 5, "num_heads": 1})
    assert len(prices_of(clips, tmp_path, gmacs=1.0).costs) == 2


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "no budget given; expected at least one of --gmacs 0.05, --params 50000, --memory-mb 2, --latency-ms 5"),
        ({"gmacs": 0.0}, "--gmacs is 0; expected more than 0"),
        ({"gmacs": 1.0, "memory_mb": -2.0}, "--memory-mb is -2; expected more than 0"),
        ({"latency_ms": float("nan")}, "--latency-ms is nan"),
    ],
)
def test_a_budget_that_says_nothing_is_an_error(limits: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BudgetLimits(**limits).check()


def test_without_optuna_the_error_says_what_to_install(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install 'sparsefuse\[search\]'"):
        Proposals({}, [], prices_of(clips, tmp_path, gmacs=1.0), seed=0, higher_is_better=True)


@pytest.mark.slow
def test_repeats_of_the_estimator_do_not_end_the_search(clips: Clips, tmp_path: Path) -> None:
    """Left to itself it proposes the cheapest model for ever, after four others under this budget."""
    found, _ = asked(prices_of(clips, tmp_path, gmacs=4e-6, parameters=900), count=10)
    assert len({str(candidate) for candidate in found}) == 10
