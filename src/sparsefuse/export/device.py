"""The cost of exported models on a small device: runs, searches or files in; latency, memory, operations, size out.

Each is measured in a process of its own (`measured`), on one thread and with capped memory: a model that needs more
fails there, as it would on the device. Multiply-adds are a proxy for energy.
"""

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sparsefuse.export.artefact import export
from sparsefuse.export.card import ExportCard
from sparsefuse.export.measured import Figures, InputShape, Measurement
from sparsefuse.files import checkpoint
from sparsefuse.files.rows import write_table
from sparsefuse.files.typed import read
from sparsefuse.files.whole import write_text
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts
from sparsefuse.shown import markdown_table

if TYPE_CHECKING:
    from rich.table import Table

RUNS = 50


class DeviceRow(NamedTuple):
    """One model at one precision."""

    model: str
    precision: str
    runtime: str
    size_kb: float
    """on disk; for bfloat16, of its numbers alone"""
    gmacs: float
    """of a typical clip, from features to logits; a multiply-add counts 1"""
    latency_ms: float | None
    """median of one clip; None if it did not fit into the memory, or cannot be trusted"""
    spread_ms: float | None
    """half the distance between the 10th and 90th percentile"""
    memory_mb: float | None
    """peak above what the runtime holds before the model is opened"""
    process_mb: float | None
    """peak of the whole process"""
    score: str
    """accuracy that the card states"""
    note: str


def profile(source: Path, *, memory_mb: int, trust_code: bool = False) -> list[DeviceRow]:
    """Rows of a run folder (float32 and int8 in onnxruntime, exported if they are not yet; bfloat16 in PyTorch) or of
    an exported file. Writes device.csv and device.md in <run>/export, or <file>.device.csv and .md.

    Raises ValueError for any other path.
    """
    if source.suffix == ".onnx":
        rows = [_of_file(source, str(source), memory_mb)]
        _write(rows, source.with_suffix(""), ".device")
        return rows
    if not RunFolder(source).has(ModelFacts):
        raise ValueError(f"{source} is neither a run folder (it has no model.json) nor an .onnx file")
    cards = [_exported(source, int8, trust_code) for int8 in (False, True)]
    plain, int8 = (_of_file(file, source.name, memory_mb) for file in cards)
    rows = [plain, _bfloat16(source, plain, trust_code), int8]
    _write(rows, source / "export" / "device", "")
    return rows


def profiles(sources: Sequence[Path], *, memory_mb: int, as_json: bool, trust_code: bool = False) -> None:
    """Profiles all and prints one table, or JSON."""
    if memory_mb < 0:
        raise ValueError(f"--memory-mb is {memory_mb}; expected 0 (no cap) or more")
    every = [run for one in sources for run in members(one)]
    rows = [row for one in every for row in profile(one, memory_mb=memory_mb, trust_code=trust_code)]
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2, ensure_ascii=False))
        return
    from sparsefuse.screen import table_console

    table_console().print(table(rows, memory_mb))
    print(
        "ms: median at batch 1, ± half its 10-90 % range. MB: peak above the runtime alone. GMACs: a proxy for energy."
    )


def members(source: Path) -> list[Path]:
    """Of a folder that `sparsefuse budget` wrote, the run folders of its Pareto front and of the chosen model; else
    `source` itself. Raises ValueError for a search without a front yet."""
    if not (source / "search.json").is_file():
        return [source]
    if not (source / "front.csv").is_file():
        raise ValueError(
            f"{source}: this search has no front yet; run its `sparsefuse budget` command again to resume it"
        )
    with (source / "front.csv").open(newline="", encoding="utf-8") as file:
        front = [source / "trials" / row["trial"] for row in csv.DictReader(file)]
    return [*front, *[source / "chosen"] * (source / "chosen").is_dir()]


def table(rows: Sequence[DeviceRow], memory_mb: int) -> "Table":
    """The rows as a table for the terminal."""
    from rich.table import Table

    cap = f", at most {memory_mb} MB" if memory_mb else ""
    shown = Table(title=f"One clip on one thread{cap}", title_justify="left")
    for title in ("model", "precision"):
        shown.add_column(title, overflow="fold")
    for title in ("kB", "GMACs", "ms", "±", "MB"):
        shown.add_column(title, justify="right", no_wrap=True)
    shown.add_column("score or note", overflow="fold")
    for row in rows:
        model, precision, _, size, gmacs, latency, spread, memory, *_ = _cells(row)
        shown.add_row(model, precision, size, gmacs, latency, spread, memory, row.note or row.score)
    return shown


def _exported(run: Path, int8: bool, trust_code: bool) -> Path:
    """The run's exported file; written anew if it is missing or older than the weights."""
    file = run / "export" / f"model{'-int8' * int8}.onnx"
    if file.is_file() and file.stat().st_mtime >= RunFolder(run).weights.stat().st_mtime:
        return file
    return export(run, int8=int8, out=file, force=int8, trust_code=trust_code).file


def _of_file(file: Path, name: str, memory_mb: int) -> DeviceRow:
    card = read(ExportCard, file.with_suffix(".json"))
    inputs = [InputShape(one.name, one.length, one.kind, one.width) for one in card.inputs]
    measured = _measured(Measurement("onnxruntime", str(file), dict(card.latency.clip), RUNS, memory_mb, inputs=inputs))
    scores = ", ".join(f"{score.metric} {score.exported:.3f} ({on})" for on, score in card.scores.items())
    note = "; ".join(filter(None, [_doubt(measured).removesuffix("; "), measured.error, *card.failures]))
    return DeviceRow(name, card.precision, "onnxruntime", card.bytes / 1e3, card.gmacs, *measured.figures, scores, note)


def _bfloat16(run: Path, plain: DeviceRow, trust_code: bool) -> DeviceRow:
    """The model in PyTorch, on preprocessed features; without a memory cap, which PyTorch alone would exceed."""
    clip = dict(RunFolder(run).read(ModelFacts).typical)
    measured = _measured(Measurement("torch", str(run), clip, RUNS, 0, precision="bfloat16", trust_code=trust_code))
    weights = checkpoint.shapes(RunFolder(run).weights)
    size = 2 * sum(math.prod(shape) for name, shape in weights.items() if name.startswith("model/")) / 1e3
    note = measured.error or f"{_doubt(measured)}not capped; without resampling and normalising"
    return DeviceRow(run.name, "bfloat16", "PyTorch", size, plain.gmacs, *measured.figures, "", note)


def _doubt(measured: Figures) -> str:
    return f"no time: {measured.doubt}; run this again on a quiet machine; " if measured.doubt else ""


def _measured(task: Measurement) -> Figures:
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "sparsefuse.export.measured"],
        input=json.dumps(asdict(task)),
        env={**os.environ, **one},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Figures(error=f"did not run: {last[:200]}")
    return Figures(**json.loads(done.stdout))


_TITLES = ("model", "precision", "runtime", "kB", "GMACs", "ms", "±", "MB", "MB process", "score", "note")


def _cells(row: DeviceRow) -> list[str]:
    figures = (row.latency_ms, row.spread_ms, row.memory_mb, row.process_mb)
    shown = ["-" if value is None else f"{value:.2f}" for value in figures]
    return [row.model, row.precision, row.runtime, f"{row.size_kb:.0f}", f"{row.gmacs:.4f}", *shown, row.score,
            row.note]  # fmt: skip


def _write(lines: Sequence[DeviceRow], stem: Path, kind: str) -> None:
    rows = [{k: "" if v is None else str(v) for k, v in line._asdict().items()} for line in lines]
    write_table(stem.with_name(f"{stem.name}{kind}.csv"), rows)
    table = markdown_table([_TITLES, *map(_cells, lines)], ["---"] * len(_TITLES))
    write_text(stem.with_name(f"{stem.name}{kind}.md"), table)
