"""Candidates for trials: spaces in, options within the budget out. Optuna proposes, the cost model filters."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sparsefuse.budget.limits import Prices
from sparsefuse.budget.sized import AnySpace, searched
from sparsefuse.budget.space import Choice, Point, Range
from sparsefuse.experiments.variants import Subsets
from sparsefuse.extras import need

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

TRIES = 300  # candidates in a row that are over the budget, or repeated, before the space counts as exhausted
MISSES = 10  # of these in a row before candidates are drawn at random: the estimator repeats its favourites
STARTUP = 20  # candidates that are drawn at random first, those over the budget among them
STEPS = 16  # from the configured options to the cheapest ones


class Candidate(NamedTuple):
    """Options within the budget."""

    method: str
    options: Mapping[str, object]
    costs: dict[str, float]


class Proposals:
    """Proposes candidates and takes their scores: Optuna's tree-structured Parzen estimator, one objective for the
    score and one per limit.

    A candidate over the budget does not become a trial. Optuna gets the excess as a constraint, so that it learns the
    limit, and proposes again. Nothing is stored: with the same seed and scores the proposals are the same, so a killed
    search is resumed by replaying it. (Optuna's storage keeps the trials but not the random state: a search resumed
    from it would diverge.)
    """

    def __init__(self, spaces: Mapping[str, AnySpace], starts: Sequence[tuple[str, Point]], prices: Prices, *,
                 seed: int, higher_is_better: bool):  # fmt: skip
        optuna = _optuna()
        self.spaces, self.prices = spaces, prices
        directions = ["maximize" if higher_is_better else "minimize", *["minimize"] * len(prices.limits.given)]
        self.guided = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        self.random = optuna.samplers.RandomSampler(seed=seed)
        self.study = optuna.create_study(sampler=self.guided, directions=directions)
        for method, point in starts:
            self.study.enqueue_trial({"method": method, **{f"{method}/{axis}": value for axis, value in point.items()}})
        self.trials: dict[str, Any] = {}
        """Optuna's trials, by candidate"""
        self.rejected = 0
        """candidates that were over the budget"""

    def ask(self) -> Candidate | None:
        """The next new candidate within the budget; None if there is none in `TRIES`."""
        states = _optuna().trial.TrialState
        for missed in range(TRIES):
            self.study.sampler = self.guided if missed < MISSES else self.random
            trial = self.study.ask()
            method, options = self._suggest(trial)
            try:
                costs = self.prices.of(method, options)
            except ValueError as error:  # options that exclude one another
                log.debug("%s %s: %s", method, options, error)
                self.study.tell(trial, state=states.FAIL)
                continue
            limits = self.prices.limits
            if not limits.kept(costs):
                for name, share in limits.shares(costs).items():
                    trial.set_constraint(name, share - 1)
                self.study.tell(trial, state=states.PRUNED)
                self.rejected += 1
                continue
            candidate = Candidate(method, options, costs)
            if _key(candidate) not in self.trials:
                self.trials[_key(candidate)] = trial
                return candidate
            self.study.tell(trial, state=states.FAIL)
        return None

    def tell(self, candidate: Candidate, score: float | None) -> None:
        """Records a candidate's score; None if it failed."""
        trial = self.trials[_key(candidate)]
        if score is None:
            self.study.tell(trial, state=_optuna().trial.TrialState.FAIL)
        else:
            self.study.tell(trial, [score, *self.prices.limits.shares(candidate.costs).values()])

    def _suggest(self, trial: "optuna.Trial") -> tuple[str, dict[str, object]]:
        method = trial.suggest_categorical("method", list(self.spaces))
        space, point = self.spaces[method], {}
        for name, axis in space.axes.items():
            if isinstance(axis, Range):
                point[name] = trial.suggest_int(f"{method}/{name}", axis.low, axis.high, log=True)
            else:
                point[name] = trial.suggest_categorical(f"{method}/{name}", axis.values)
        return method, space.options(point)


def affordable(
    methods: Mapping[str, Mapping[str, object]], prices: Prices, subsets: Sequence[Subsets] = ()
) -> tuple[dict[str, AnySpace], list[tuple[str, Point]]]:
    """The spaces of the methods (name -> configured options) that the budget allows, and starting points in each.

    The starting points are the configured options, or the nearest on the path to the cheapest that are within budget,
    and those half way from there to the cheapest. A method that cannot meet the budget is left out, with a warning.
    `subsets`: see `searched`. Raises ValueError, with the lowest cost that was found, if none can.
    """
    spaces, starts, dear = {}, [], []
    for method, configured in methods.items():
        prices.of(method, configured)  # the error of options that cannot be built names what is configured
        space = searched(prices.data, method, configured, subsets)
        patterns = _cheapest(method, space, prices)
        path = [space.toward_cheap(step / STEPS, patterns) for step in range(STEPS + 1)]
        costs = (prices.of(method, space.options(point)) for point in path)
        first = next((step for step, cost in enumerate(costs) if prices.limits.kept(cost)), None)
        if first is None:
            lowest = prices.of(method, space.options(path[-1]), all_costs=True)
            dear.append(f"{method} needs {prices.limits.say(lowest)}")
            continue
        spaces[method] = space
        starts += [(method, path[first]), (method, path[(first + STEPS) // 2])]
    if not spaces:
        raise ValueError(f"the budget is below the cheapest model that was found: {'; '.join(dear)}")
    for line in dear:
        log.warning("left out: %s at least", line)
    return spaces, starts


def _cheapest(method: str, space: AnySpace, prices: Prices) -> Point:
    """The cheapest value on each axis of choices, with the other axes at their cheapest."""
    choices = {name: axis for name, axis in space.axes.items() if isinstance(axis, Choice)}
    patterns: Point = {name: axis.start for name, axis in choices.items()}
    for name, axis in choices.items():

        def used(pattern: str, name: str = name) -> float:
            point = space.toward_cheap(1, {**patterns, name: pattern})
            try:
                costs = prices.of(method, space.options(point), all_costs=True)
            except ValueError:  # the pattern excludes another option
                return math.inf
            return max(prices.limits.shares(costs).values())

        patterns[name] = min(axis.values, key=used)
    return patterns


def _key(candidate: Candidate) -> str:
    return json.dumps([candidate.method, candidate.options], sort_keys=True)


def _optuna() -> Any:
    """Imports Optuna, an optional dependency."""
    optuna = need("optuna", "search", "the search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
