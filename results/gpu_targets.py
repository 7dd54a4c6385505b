"""What is wanted of a GPU beside what was measured there: figures of `benchmarks/gpu.sh` in, gpu-targets.md out.

    python results/gpu_targets.py           reads and writes results/benchmark

A ratio is that of the best of our forms (eager, graph) to the best of concat by PyTorch's own kernels (eager, compiled,
graph), measured in the same run. What no file says is "not measured".
"""

import math
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sparsefuse.files.rows import read_table
from sparsefuse.files.whole import write_text

BENCHMARK = Path(__file__).parent / "benchmark"
WANTED = {  # shape, batch, model: eval, train, memory
    ("vggs", 24, "sft"): (4, 4, 4),
    ("vggs", 24, "sft, sparse throughout"): (8, 8, 4),
    ("mosei", 24, "sft"): (4, 4, 5),
    ("mosei", 24, "sft, sparse throughout"): (6, 6, 5),
    **{(shape, 256, "sft"): (6, 6, 5) for shape in ("vggs", "mosei")},
    **{(shape, 256, "sft, sparse throughout"): (12, 12, 5) for shape in ("vggs", "mosei")},
    **{(shape, 24, model): (1, 1, 1) for shape in ("vggs", "mosei") for model in ("late", "mbt")},
}
BASE = "concat, PyTorch"
NOTHING = "not measured"
Row = dict[str, str]


class Files(NamedTuple):
    """What a device's files say; empty where there is none."""

    device: str
    table: list[Row]
    sweep: list[Row]
    training: list[Row]
    loading: list[Row]


def main() -> None:
    """See the module's docstring."""
    write_text(BENCHMARK / "gpu-targets.md", page(files_in(BENCHMARK)))


def files_in(folder: Path) -> Files:
    """Those of the GPU whose table is the newest; of none, nothing."""
    tables = [path for path in folder.glob("*-torch*-*.csv") if not _is_other(path)]
    if not tables:
        return Files("", [], [], [], [])
    table = max(tables, key=lambda path: path.stat().st_mtime)
    device = table.name.split("-torch")[0]
    others = (
        table.with_name(f"{table.stem}-length.csv"),
        *(folder / f"{device}-{name}.csv" for name in ("training", "loading")),
    )
    return Files(table.stem, _rows(table), *map(_rows, others))


def _is_other(path: Path) -> bool:
    return path.name.startswith("cpu-") or path.stem.endswith("-length")


def _rows(path: Path) -> list[Row]:
    return read_table(path).rows if path.is_file() else []


def page(files: Files) -> str:
    """The page: a heading with the device and the command, and a row per target."""
    return "\n".join([f"# {files.device or 'No GPU yet'}", "", "`bash benchmarks/gpu.sh`", "", targets(files), ""])


def targets(files: Files | None = None) -> str:
    """Two tables: a row per model, and one per other target; of the newest GPU's files, if none are given."""
    files = files or files_in(BENCHMARK)
    models = [
        "| shapes | batch | method | predict (wanted) | train (wanted) | memory (wanted) |",
        "|:--|--:|:--|--:|--:|--:|",
        *ratios(files.table),
    ]
    return "\n".join([*models, "", "| what | measured (wanted) |", "|:--|--:|", *others(files)])


def ratios(table: list[Row]) -> Iterable[str]:
    """Of every model that something is wanted of: eval, train and memory."""
    for (shape, batch, model), wanted in WANTED.items():
        own = [row for row in table if (row["shape"], row["batch"]) == (shape, str(batch))]
        cells = [
            _said(ratio(own, model, what), "{:.1f} x", f"{least} x")
            for what, least in zip(("eval", "train", "memory"), wanted, strict=True)
        ]
        yield f"| {shape} | {batch} | {model} | {' | '.join(cells)} |"


def ratio(rows: list[Row], model: str, what: str) -> float:
    """How many times better the best form of a model is than the best of the base; nan where one is not there."""
    mode, column = ("train", "memory_mb") if what == "memory" else (what, "ms")
    best = []
    for name in (BASE, model):
        values = [float(row[column]) for row in rows if (row["model"], row["mode"]) == (name, mode)]
        best.append(min((value for value in values if not math.isnan(value)), default=math.nan))
    return best[0] / best[1]


def others(files: Files) -> Iterable[str]:
    """Length, training, use and loading."""
    for pattern in ("local", "strided"):
        own = [row for row in files.sweep if row["pattern"] == pattern]
        logs = [[math.log(float(row[name])) for row in own] for name in ("tokens", "ms")]
        slope = statistics.linear_regression(*logs).slope if len(own) > 1 else math.nan
        yield f"| {pattern}, 4k to 1M tokens: slope of time | {_said(slope, '{:.2f}', '1.1 at most')} |"
        longest = [float(row["memory_mb"]) / 1e3 for row in own if row["tokens"] == str(2**20)]
        yield f"| {pattern}, 1M tokens: a training step | {_said(_first(longest), '{:.1f} GB', '40 GB at most')} |"
    busy = _first([float(row["busy"]) for row in files.training if row["graphs"] == "auto"])
    yield f"| UTD-MHAD's shapes: device busy in an epoch's steps | {_said(busy, '{:.0%}', '80 %')} |"
    label = _first([float(row["label_ms"]) for row in files.training])
    yield f"| a clip's arrays to its label, batch 1 | {_said(label, '{:.2f} ms', 'less than 2 ms')} |"
    share = _first([float(row["trained"]) / float(row["steps"]) for row in files.loading])
    yield f"| steps with loading, of those without | {_said(share, '{:.2f}', '0.8')} |"


def _first(values: list[float]) -> float:
    return values[0] if values else math.nan


def _said(value: float, form: str, wanted: str = "") -> str:
    said = NOTHING if math.isnan(value) else form.format(value)
    return f"{said} ({wanted})" if wanted else said


def side_by_side() -> str:
    """Times as fast as concat by PyTorch's own kernels, a batch on a processor beside one on a GPU."""
    (cpu,) = (path for path in BENCHMARK.glob("cpu-*.csv") if not path.stem.endswith("-length"))
    gpu = files_in(BENCHMARK).table
    rows = [
        "| clips of | method | CPU, predict | CPU, train | GPU, predict | GPU, train |",
        "|:--|:--|--:|--:|--:|--:|",
    ]
    for shape in ("vggs", "mosei"):
        for model in ("sft", "sft, sparse throughout"):
            (own,) = (row for row in _rows(cpu) if (row["shape"], row["model"]) == (shape, model))
            cells = [f"{float(own[f'{what}_ratio']):.0f}" for what in ("eval", "train")]
            there = [row for row in gpu if (row["shape"], row["batch"]) == (shape, "24")]
            cells += [_said(ratio(there, model, what), "{:.1f}") for what in ("eval", "train")]
            rows.append(f"| {' | '.join([shape.upper(), model, *cells])} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
