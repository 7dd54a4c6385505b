"""The table of costs: methods and shapes in; multiply-adds, parameters, memory and latency out."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from sparsefuse.cost.count import CountedCost, count
from sparsefuse.cost.measure import BATCH, Measured, measure
from sparsefuse.errors import unknown
from sparsefuse.methods import build
from sparsefuse.model import FusionModel
from sparsefuse.parallel.devices import device_of

if TYPE_CHECKING:
    from rich.table import Table


class Shapes(NamedTuple):
    """The clips of a published study, and the costs that it reports."""

    lengths: dict[str, int]
    features: dict[str, int]
    num_classes: int
    options: dict[str, dict[str, Any]]
    reported: dict[str, float]
    """GMACs per method in table 2 of the SFT paper (called GFlops there)"""


_RELEASED = {"sparse": "dense"}  # what the released layer computes, and the paper counts

_SPLIT = {"cross_depth": 1, "fusion_depth": 11}  # of the study's twelve layers

PUBLISHED = {
    "vggs": Shapes(
        {"flow": 38, "rgb": 38, "spectrogram": 1200},
        {"flow": 1024, "rgb": 1024, "spectrogram": 128},
        10,
        {"sft": {"keep": {"flow": 12, "rgb": 12, "spectrogram": 20}, **_RELEASED}, "mult": _SPLIT},
        {"concat": 1.68, "late": 1.51, "mult": 2.64, "mbt": 1.52, "sft": 0.25},
    ),
    "mosei": Shapes(
        {"audio": 500, "text": 50, "vision": 500},
        {"audio": 74, "text": 300, "vision": 35},
        7,
        {"sft": {"keep": {"audio": 10, "text": 25, "vision": 10}, **_RELEASED}, "mult": _SPLIT},
        {"concat": 1.16, "late": 0.59, "mult": 1.03, "mbt": 0.59, "sft": 0.10},
    ),
}


class CostRow(NamedTuple):
    """The costs of one method."""

    method: str
    cost: CountedCost
    measured: Measured | None
    reported: float | None


class Measuring(NamedTuple):
    """Where and how costs are measured."""

    device: str = "cpu"
    """as `device_of` takes it"""
    batch: int = BATCH
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is by autocast"""

    def of(self, model: FusionModel, lengths: Mapping[str, int]) -> Measured:
        """Moves the model there. Raises ValueError for a batch below 1 or a device that is not there."""
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}, expected 1 or more")
        device = torch.device(device_of(self.device))
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return measure(model.to(device), lengths, batch=self.batch)


def ledger(
    methods: Sequence[str],
    lengths: Mapping[str, int],
    features: Mapping[str, int],
    num_classes: int,
    options: Mapping[str, Mapping[str, Any]],
    *,
    shapes: str | None = None,
    measuring: Measuring | None = None,
) -> list[CostRow]:
    """Costs of one clip per method. `shapes` takes lengths, features, classes and options from a published study;
    `options` override them. For the lengths of a published study, its figures are added, for any names of
    modalities. With `measuring`, memory and latency are measured too."""
    for name in options:
        if name not in methods:
            raise ValueError(f"options: {unknown('method', name, methods)}")
    if shapes is not None:
        study = PUBLISHED[shapes]
        lengths, features, num_classes = study.lengths, study.features, study.num_classes
        options = {m: {**study.options.get(m, {}), **options.get(m, {})} for m in {*study.options, *options}}
    if not lengths:
        raise ValueError("give --lengths, as rgb=38,spectrogram=1200, with --features; or --shapes vggs")
    for name in {*lengths, *features}:
        if name not in lengths or name not in features:
            raise ValueError(f"modality {name!r} needs both a length and a feature size; got {lengths} and {features}")
    same = next((p for p in PUBLISHED.values() if sorted(p.lengths.values()) == sorted(lengths.values())), None)
    rows = []
    for method in methods:
        model = build(method, dict(features), num_classes, lengths=dict(lengths), **options.get(method, {}))
        figures = measuring.of(model, lengths) if measuring else None
        rows.append(CostRow(method, count(model, dict(lengths)), figures, same.reported.get(method) if same else None))
    return rows


def show(rows: Sequence[CostRow], *, as_json: bool) -> None:
    """Prints the rows as a table, or as JSON."""
    if as_json:
        print(json.dumps([_plain(row) for row in rows], indent=2))
        return
    from rich.console import Console

    reported = any(row.reported for row in rows)
    Console().print(_counted(rows, reported))
    print("inputs, layers, head: matrix products as computed. formula: the layers by SFT's appendix A.2 (attention")
    print("as dense, MLPs as wide as tokens, 4 N D for norms)." + " paper: what its table 2 reports." * reported)
    if rows[0].measured:
        Console().print(_timed(rows, rows[0].measured.batch))
        print("latency: median at batch 1, ± half its 10-90 % range. MB: peak activations of a training step.")
        print("x floor: over the roofline bound of this machine, the slower of its matrix products and memory.")
        doubts = [f"{row.method}: {row.measured.doubt}" for row in rows if row.measured and row.measured.doubt]
        if doubts:
            print(f"-: cannot be trusted ({'; '.join(doubts)}); run this again on a quiet machine.")
        else:
            loads = [row.measured.load for row in rows if row.measured and row.measured.load is not None]
            print(f"Other programs kept up to {max(loads):.1f} cores busy meanwhile." if loads else "")


def _counted(rows: Sequence[CostRow], reported: bool) -> "Table":
    table = _table("Cost of one clip, GMACs (multiply-add = 1)", "method", "inputs", "layers", "head", "formula")
    for title in ["paper"] * reported + ["parameters"]:
        table.add_column(title, justify="right")
    for row in rows:
        cost = row.cost
        cells = [row.method, *(f"{value / 1e9:.4f}" for value in (cost.embed, cost.layers, cost.head, cost.paper))]
        cells += ["-" if row.reported is None else f"{row.reported:.2f}"] * reported
        table.add_row(*cells, f"{cost.parameters:,}")
    return table


def _timed(rows: Sequence[CostRow], batch: int) -> "Table":
    title = f"Measured on this machine, per clip; batches of {batch}"
    table = _table(title, "method", "latency ms", "±", "x floor", "batch ms", "x floor", "train ms", "MB")
    for row in rows:
        assert row.measured is not None
        m = row.measured
        alone = [_number(m.latency_ms), _number(m.latency_spread_ms), _over(m.latency_ms, m.floor_ms)]
        together = [_number(m.batch_ms), _over(m.batch_ms, m.batch_floor_ms), _number(m.train_ms)]
        table.add_row(row.method, *alone, *together, f"{m.memory_mb:.2f}")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _over(value: float | None, floor: float) -> str:
    return "-" if value is None else f"{value / floor:.0f}"


def _table(title: str, *columns: str) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def _plain(row: CostRow) -> dict[str, object]:
    cost = row.cost
    gmacs = {"embed": cost.embed, "layers": cost.layers, "head": cost.head, "total": cost.total, "paper": cost.paper}
    entry: dict[str, object] = {"method": row.method, "gmacs": {k: v / 1e9 for k, v in gmacs.items()}}
    entry |= {"parameters": cost.parameters, "reported_gmacs": row.reported}
    return entry | ({"measured": row.measured._asdict()} if row.measured else {})
