"""The limits of a budget, and the costs of a model before training that are compared with them."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sparsefuse.budget.sized import Samples, gmacs_of, model_of, size_of
from sparsefuse.cost.measure import forward_latency, memory_mb
from sparsefuse.files.typed import from_json, to_json
from sparsefuse.files.whole import read_lines, write_text
from sparsefuse.runs.summary import UNITS

log = logging.getLogger(__name__)

FLAGS = {"gmacs": "--gmacs", "parameters": "--params", "memory_mb": "--memory-mb", "latency_ms": "--latency-ms"}


class BudgetLimits(NamedTuple):
    """The most that one clip may cost, in the units of a run's `cost`; None = no limit. All that are given hold."""

    gmacs: float | None = None
    """multiply-adds of a forward pass / 1e9"""
    parameters: float | None = None
    memory_mb: float | None = None
    """peak activations of a training step per clip, in batches of 8"""
    latency_ms: float | None = None
    """median forward pass of one clip, on this machine"""

    @property
    def given(self) -> dict[str, float]:
        """The limits that are set."""
        return {name: limit for name, limit in self._asdict().items() if limit is not None}

    def check(self) -> None:
        """Raises ValueError if there is no limit, or one of 0 or less."""
        if not self.given:
            flags = [
                f"{flag} {example}" for flag, example in zip(FLAGS.values(), ("0.05", "50000", "2", "5"), strict=True)
            ]
            raise ValueError(f"no budget given; expected at least one of {', '.join(flags)}")
        for name, limit in self.given.items():
            if not limit > 0:
                raise ValueError(f"{FLAGS[name]} is {limit:g}; expected more than 0")

    def shares(self, costs: dict[str, float]) -> dict[str, float]:
        """How much of each limit is used; above 1 is over it. A cost that was not computed is left out."""
        return {name: costs[name] / limit for name, limit in self.given.items() if name in costs}

    def kept(self, costs: dict[str, float]) -> bool:
        """Whether every cost is within its limit; costs that were not computed are ignored."""
        return all(share <= 1 for share in self.shares(costs).values())

    def say(self, costs: dict[str, float]) -> str:
        """`0.0138 of 0.005 GMACs`, for every limit."""
        return ", ".join(
            f"{costs[name]:.4g} of {limit:g} {UNITS[name]}" for name, limit in self.given.items() if name in costs
        )


@dataclass(frozen=True)
class Priced:
    """A line of candidates.jsonl."""

    method: str
    options: Mapping[str, object]
    costs: dict[str, float]


class Prices:
    """What models cost on samples of median size; each is computed once and recorded in `path`, a JSONL file.

    Parameters and multiply-adds are counted. Memory and latency are measured, but only where there is a limit on them
    and the counted costs are within theirs. A resumed search reads its earlier measurements, so that it
    makes the same decisions.
    """

    def __init__(self, limits: BudgetLimits, data: Samples, device: str, path: Path):
        self.limits, self.data, self.device, self.path = limits, data, device, path
        lines = read_lines(path)  # without a line that a kill cut off
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
        priced = (from_json(Priced, line, str(path)) for line in lines)
        self.costs = {_key(one.method, one.options): one.costs for one in priced}

    def of(self, method: str, options: Mapping[str, object], *, all_costs: bool = False) -> dict[str, float]:
        """Costs by name. Once one is over its limit, the others are not computed, unless `all_costs`.

        Raises what `build` raises.
        """
        key = _key(method, options)
        costs = self.costs.get(key, {})
        missing = {"gmacs", "parameters", *self.limits.given} - costs.keys()
        if missing and (all_costs or self.limits.kept(costs)):
            self.costs[key] = self._price(method, options, all_costs)
            line = to_json(Priced(method, options, self.costs[key]))
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        return self.costs[key]

    def _price(self, method: str, options: Mapping[str, object], all_costs: bool) -> dict[str, float]:
        wanted, size = self.limits.given, size_of(self.data)
        model = model_of(self.data, method, options)
        costs: dict[str, float] = {"parameters": sum(p.numel() for p in model.parameters())}
        if all_costs or self.limits.kept(costs):
            costs["gmacs"] = gmacs_of(model, self.data)
        model = model.to(self.device)
        if "memory_mb" in wanted and (all_costs or self.limits.kept(costs)):
            costs["memory_mb"] = memory_mb(model, size)
        if "latency_ms" in wanted and (all_costs or self.limits.kept(costs)):
            found = forward_latency(model, size)
            costs["latency_ms"] = found.fastest_ms if found.doubt else found.median_ms
            if found.doubt:
                log.warning("candidates are compared by their fastest run, not the median: %s", found.doubt)
        return costs


def _key(method: str, options: Mapping[str, object]) -> str:
    return json.dumps([method, options], sort_keys=True)
