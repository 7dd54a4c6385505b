"""A budget on pixels: what is searched, what it costs, and a search from end to end."""

import json
from pathlib import Path

import pytest

import tiny_pixels
from sparsefuse.budget.limits import BudgetLimits, Prices
from sparsefuse.budget.pixels.space import pixel_space_of
from sparsefuse.budget.proposals import affordable
from sparsefuse.budget.search import budget
from sparsefuse.budget.space import Choice, Range
from sparsefuse.config import Config
from sparsefuse.cost.count import count_pixels
from sparsefuse.data.pixels.load import load_scenes
from sparsefuse.methods import pixels
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result

SIZE = {"dims": [8, 24], "depths": [1, 3], "num_heads": [1, 3], "reductions": [2, 1], "patches": [[7, 4], [3, 2]],
        "head_dim": 8}  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixels.write_scenes(tmp_path_factory.mktemp("scenes"))


def test_widths_of_heads_and_blocks_are_searched_and_all_else_stays() -> None:
    configured = {"size": SIZE, "shared": "all", "num_bottlenecks": 3}
    space = pixel_space_of("mbt", configured, "segment", ["depth", "rgb"])
    assert space.axes == {
        "size.width": Range(1, 16, 8, 1), "size.depth2": Range(1, 3, 3, 1), "num_bottlenecks": Range(1, 6, 3, 1),
    }  # fmt: skip
    as_configured = space.options(space.toward_cheap(0, {}))
    assert as_configured == {**configured, "size": SIZE}
    cheapest = space.options(space.toward_cheap(1, {}))
    assert cheapest == {"shared": "all", "num_bottlenecks": 1, "size": {**SIZE, "dims": [1, 3], "depths": [1, 1]}}
    wide = space.options({"size.width": 12, "size.depth2": 2, "num_bottlenecks": 1})["size"]
    assert (wide["dims"], wide["depths"]) == ([12, 36], [1, 2])


def test_streams_are_searched_if_asked_for() -> None:
    space = pixel_space_of("early", {"size": SIZE}, "segment", ["depth", "rgb"], ["each"])
    assert space.axes["modalities"] == Choice(('["depth", "rgb"]', '["depth"]', '["rgb"]'), '["depth", "rgb"]')
    assert space.options({"size.width": 8, "modalities": '["rgb"]'})["modalities"] == ["rgb"]
    assert "modalities" not in pixel_space_of("unimodal", {}, "segment", ["depth", "rgb"], ["each"]).axes


@pytest.mark.parametrize("task", ["segment", "translate"])
@pytest.mark.parametrize("method", pixels.methods())
def test_any_method_builds_at_both_ends_of_its_space(method: str, task: str) -> None:
    space = pixel_space_of(method, {"size": tiny_pixels.SIZE[task]}, task, ["depth", "rgb"])
    for point in (space.toward_cheap(0, {}), space.toward_cheap(1, {})):
        pixels.build(method, {"depth": 2, "rgb": 3}, 2, task=task, **space.options(point))


@pytest.mark.slow
def test_options_within_the_budget_cost_what_is_counted(manifest: Path, tmp_path: Path) -> None:
    config = tiny_pixels.config(manifest, "concat")
    scenes, configured = load_scenes(config), {"size": tiny_pixels.SIZE["segment"]}
    whole = pixels.build("concat", scenes.channels, 2, **configured)
    limit = 0.5 * count_pixels(whole, 16, 16) / 1e9
    prices = Prices(BudgetLimits(gmacs=limit), scenes, "cpu", tmp_path / "candidates.jsonl")
    spaces, starts = affordable({"concat": configured}, prices)
    options = spaces["concat"].options(starts[0][1])
    model = pixels.build("concat", scenes.channels, 2, **options)
    assert 0.3 * limit < count_pixels(model, 16, 16) / 1e9 <= limit
    assert prices.of("concat", options)["gmacs"] == count_pixels(model, 16, 16) / 1e9
    assert prices.of("concat", options)["parameters"] == sum(p.numel() for p in model.parameters())


def test_memory_and_latency_are_measured_where_they_are_limited(manifest: Path, tmp_path: Path) -> None:
    scenes = load_scenes(tiny_pixels.config(manifest, "early"))
    prices = Prices(BudgetLimits(memory_mb=50.0, latency_ms=1e4), scenes, "cpu", tmp_path / "candidates.jsonl")
    costs = prices.of("early", {"size": tiny_pixels.SIZE["segment"]})
    assert costs["memory_mb"] > 0
    assert costs["latency_ms"] > 0


@pytest.mark.slow
def test_a_search_ends_with_a_tested_model_within_the_budget(manifest: Path, tmp_path: Path) -> None:
    config = tiny_pixels.config(manifest, "concat", train={"epochs": 2})
    whole = pixels.build("concat", {"depth": 2, "rgb": 3}, 2, size=tiny_pixels.SIZE["segment"])
    limit = 0.6 * count_pixels(whole, 16, 16) / 1e9
    found = budget(
        config, ["concat", "early"], gmacs=limit, trials=3, seeds=[1], refit=True, out=tmp_path / "out", jobs=1
    )
    result = RunFolder(found.chosen).read(Result)
    assert 0 < result.cost.gmacs <= limit
    assert "miou" in result.test
    assert all(not RunFolder(run).read(Result).test for run in sorted((tmp_path / "out/trials").iterdir()))
    assert found.page.is_file()
    again = Config.load(found.yaml)
    assert again.options[again.method]["size"]["dims"] != tiny_pixels.SIZE["segment"]["dims"]
    assert found.refit
    assert RunFolder(found.refit).read(Result).splits["valid"] == 0
    assert json.loads((tmp_path / "out/search.json").read_text())["budget"]["limits"]["gmacs"] == limit
