"""The search for LoCoMT's views: a configuration and a budget in; heads per view and layer, beside other choices, out.

    relaxed: every head learns a mixture of all views at a price  ->  hardened: the likeliest views within the budget
    ->  trained with several seeds, beside the strategies and random draws that cost as much

The paper leaves this open (its second question). Below `out`: search-views.json (its settings), relaxed/ (a run
folder), runs/ (a run folder per choice and seed), views.yaml (the configuration with the chosen views).
"""

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.budget.chosen import write_yaml
from sparsefuse.checks import check_config, check_one_test_split
from sparsefuse.config import Config
from sparsefuse.cost import count
from sparsefuse.data.clips import Clips, load_clips
from sparsefuse.experiments.grid import Cell, grid, run
from sparsefuse.experiments.variants import Variant
from sparsefuse.files.whole import read_json, write_json
from sparsefuse.layers.views import (
    STRATEGIES,
    Frequencies,
    LearnedViews,
    Strategy,
    ViewBlock,
    by_strategy,
    score_products,
    views_of,
)
from sparsefuse.methods import build
from sparsefuse.model import FusionModel
from sparsefuse.report.page import write_tables
from sparsefuse.report.table import Table
from sparsefuse.runs.folder import check_same_settings
from sparsefuse.runs.weights import load_model
from sparsefuse.training.options import options_of

log = logging.getLogger(__name__)


class ViewSearchResult(NamedTuple):
    """The result of a search for views."""

    views: list[Frequencies]
    """by fusion layer"""
    yaml: Path
    """the configuration with these views"""
    table: Table
    """of the runs with these views and with others; see its `failed`"""


class ViewBudget(NamedTuple):
    """The shapes of the fusion layers, and the cost that their views may have."""

    names: tuple[str, ...]
    lengths: dict[str, int]
    """tokens per modality, CLS counted"""
    num_heads: int
    depth: int
    most: int
    """score products of all heads of all layers that the budget allows"""

    def products(self, layers: Sequence[Frequencies]) -> int:
        """Score products of all heads of these layers."""
        return sum(count * score_products(v, self.lengths) for layer in layers for v, count in layer.items())

    def strategy(self, name: Strategy, seed: int = 0) -> list[Frequencies] | None:
        """The strategy's views with the fewest cross heads within the budget; None if there are none."""
        heads = self.num_heads * self.depth
        for crossing in range(heads + 1):
            views = by_strategy(
                name,
                crossing / heads,
                modalities=self.names,
                num_heads=self.num_heads,
                depth=self.depth,
                seed=seed,
            )
            if self.products(views) <= self.most:
                return views
        return None  # heads go to the pairs in turn; the cheapest pair alone might be within the budget


def search_views(
    config: Config,
    gmacs: float,
    out: Path,
    *,
    root: Path,
    price: float = 0.1,
    seeds: Sequence[int] = (0, 1, 2),
    draws: int = 2,
    jobs: int = 0,
) -> ViewSearchResult:
    """Searches the views of `locomt` under a budget of `gmacs` per clip of median length; other options stay.

    The relaxed model is trained with the configuration's seed and never scored on the test split; the views are
    then trained with `seeds`, as are the strategies and `draws` random choices. A rerun does what is missing. Raises
    ValueError for a budget that no views meet, for clips of one modality, or if `out` holds another search, or one of
    other clips.
    """
    config = dataclasses.replace(config, method="locomt")
    check_config(config)
    check_one_test_split(config)
    clips = load_clips(config.data, root)
    budget = _budget(config, clips, gmacs)
    settings = {**asdict(config), "search": {"gmacs": gmacs, "price": price}}
    if (out / "search-views.json").exists():
        check_same_settings(read_json(out / "search-views.json"), settings, out)
    relaxed = Variant("relaxed", "locomt", {"views": "learned", "view_price": price})
    cell = Cell("relaxed", relaxed.of(config, config.seed), out / "relaxed", root, tested=False)
    write_json(out / "search-views.json", settings)
    failed = run([cell], jobs=1)
    if failed:
        raise ValueError(f"the relaxed model failed: {failed[0]}")
    views = harden(preferences(cell), budget)
    comments = [f"Views found by sparsefuse search-views for at most {gmacs:g} GMACs a clip."]
    chosen = Variant("found", "locomt", {"views": views})
    write_yaml(out / "views.yaml", chosen.of(config, config.seed), root, comments)
    others = {name: budget.strategy(name) for name in STRATEGIES if name != "random"}
    others |= {f"random {seed}": budget.strategy("random", seed) for seed in range(draws)}
    variants = [chosen, *(Variant(name, "locomt", {"views": v}) for name, v in others.items() if v is not None)]
    for name in (name for name, layers in others.items() if layers is None):
        log.warning("%s is left out: it is over the budget for any number of cross heads", name)
    failed = run(grid(config, variants, seeds, out / "runs", root=root), jobs=jobs)
    return ViewSearchResult(views, out / "views.yaml", write_tables(out / "runs", out / "runs" / "views", failed))


def _budget(config: Config, clips: Clips, gmacs: float) -> ViewBudget:
    """The budget of the views. Raises ValueError if no views are within it, or there is nothing to choose."""
    names = tuple(sorted(clips.features))
    if len(names) < 2:
        raise ValueError(f"views are a choice between modalities; the clips have one, {min(clips.features)!r}")
    model = _model(
        clips, {**options_of(config), "views": "spread", "cross": 0.0}
    )  # all heads attend to their own modality
    blocks = _blocks(model)
    if not blocks:
        raise ValueError("views are chosen for fusion layers; options.locomt.fusion_depth is 0")
    num_heads = blocks[0].attention.num_heads
    width = blocks[0].attention.out.in_features // num_heads
    heads = num_heads * len(blocks)
    lengths = {name: clips.typical[name] + 1 for name in names}
    products = [heads * score_products(view, lengths) for view in views_of(names)]
    most = count.total(model, clips.typical)
    rest = most - 2 * width * products[0]  # q k and weights times v: two multiply-adds per product and channel
    least = rest + 2 * width * min(products)
    if gmacs * 1e9 < least:
        raise ValueError(
            f"no views cost {gmacs:g} GMACs or less: they cost from {least / 1e9:.4g} to {most / 1e9:.4g}; "
            "raise --gmacs, or make other options smaller"
        )
    return ViewBudget(names, lengths, num_heads, len(blocks), math.floor((gmacs * 1e9 - rest) / (2 * width)))


def _model(clips: Clips, options: Mapping[str, object]) -> FusionModel:
    return build("locomt", clips.features, clips.labels.num_outputs, lengths=clips.longest, **options)


def _blocks(model: FusionModel) -> list[ViewBlock]:
    return [layer for layer in model.layers if isinstance(layer, ViewBlock)]


def preferences(cell: Cell) -> list[Tensor]:
    """The weights (H, V) of the views in each head, by fusion layer, of a trained relaxed model."""
    learned = [block.views for block in _blocks(load_model(cell.run).model)]
    return [views.preference.detach().softmax(1) for views in learned if isinstance(views, LearnedViews)]


def harden(shares: Sequence[Tensor], budget: ViewBudget) -> list[Frequencies]:
    """One view per head: the likeliest; then, while that is over the budget, the change that loses the least
    log-probability per product saved."""
    views = views_of(budget.names)
    products = torch.tensor([score_products(view, budget.lengths) for view in views], dtype=torch.float64)
    logs = torch.stack(list(shares)).double().clamp_min(1e-300).log()  # (T, H, V)
    chosen = logs.argmax(2)
    while int(products[chosen].sum()) > budget.most:
        lost = logs.gather(2, chosen[..., None]) - logs  # (T, H, V), 0 or more but for heads changed before
        saved = products[chosen][..., None] - products
        price = torch.where(saved > 0, lost / saved, torch.inf)
        best = torch.unravel_index(price.argmin(), price.shape)
        chosen[best[:2]] = best[2]
    counts = [[int((row == i).sum()) for i in range(len(views))] for row in chosen]
    return [{view: count for view, count in zip(views, layer, strict=True) if count} for layer in counts]
