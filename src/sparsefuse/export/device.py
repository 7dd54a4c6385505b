"""What exported models take of a small device: runs, searches or files in; latency, memory, operations and size out.

Each is measured in a process of its own (`measured`), on one thread and with capped memory: a model that needs more
fails there, as it would on the device. Multiply-adds stand for energy.
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
from sparsefuse.export.card import Card
from sparsefuse.export.measured import Figures, Given, Task
from sparsefuse.files import checkpoint
from sparsefuse.files.rows import write_table
from sparsefuse.files.typed import read
from sparsefuse.files.whole import write_text
from sparsefuse.runs.folder import ModelFacts, RunFolder

if TYPE_CHECKING:
    from rich.table import Table

RUNS = 50


class Line(NamedTuple):
    """One model at one precision."""

    model: str
    precision: str
    runtime: str
    size_kb: float
    """on disk; for bfloat16, of its numbers alone"""
    gmacs: float
    """of a typical clip, from features to logits; a multiply-add counts 1"""
    latency_ms: float | None
    """median of one clip; None if it did not fit into the memory"""
    spread_ms: float | None
    """half the distance between the 10th and 90th percentile"""
    memory_mb: float | None
    """peak above what the runtime holds before the model is opened"""
    process_mb: float | None
    """peak of the whole process"""
    score: str
    """accuracy that the card states"""
    note: str


def profile(given: Path, *, memory_mb: int, trust_code: bool = False) -> list[Line]:
    """Lines of a run folder (float32 and int8 in onnxruntime, exported if they are not yet; bfloat16 in PyTorch) or of
    an exported file. Writes device.csv and device.md in <run>/export, or <file>.device.csv and .md.

    Raises ValueError for what is neither.
    """
    if given.suffix == ".onnx":
        lines = [_of_file(given, str(given), memory_mb)]
        _write(lines, given.with_suffix(""), ".device")
        return lines
    if not RunFolder(given).has(ModelFacts):
        raise ValueError(f"{given} is neither a run folder (it has no model.json) nor an .onnx file")
    cards = [_exported(given, int8, trust_code) for int8 in (False, True)]
    plain, int8 = (_of_file(file, given.name, memory_mb) for file in cards)
    lines = [plain, _bfloat16(given, plain, trust_code), int8]
    _write(lines, given / "export" / "device", "")
    return lines


def profiles(given: Sequence[Path], *, memory_mb: int, as_json: bool, trust_code: bool = False) -> None:
    """Profiles all and prints one table, or JSON."""
    if memory_mb < 0:
        raise ValueError(f"--memory-mb is {memory_mb}; expected 0 (no cap) or more")
    every = [run for one in given for run in members(one)]
    lines = [line for one in every for line in profile(one, memory_mb=memory_mb, trust_code=trust_code)]
    if as_json:
        print(json.dumps([line._asdict() for line in lines], indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    Console().print(table(lines, memory_mb))
    print("ms: median at batch 1, ± half its 10-90 % range. MB: peak above the runtime alone. GMACs stand for energy.")


def members(given: Path) -> list[Path]:
    """Of a folder that `sparsefuse budget` wrote, the run folders of its Pareto front and of the chosen model; else
    what is given. Raises ValueError for a search that has found no front yet."""
    if not (given / "search.json").is_file():
        return [given]
    if not (given / "front.csv").is_file():
        raise ValueError(
            f"{given}: this search has no front yet; run its `sparsefuse budget` command again, it goes on"
        )
    with (given / "front.csv").open(newline="", encoding="utf-8") as file:
        front = [given / "trials" / row["trial"] for row in csv.DictReader(file)]
    return [*front, *[given / "chosen"] * (given / "chosen").is_dir()]


def table(lines: Sequence[Line], memory_mb: int) -> "Table":
    """The lines on the screen."""
    from rich.table import Table

    cap = f", at most {memory_mb} MB" if memory_mb else ""
    found = Table(title=f"One clip on one thread{cap}", title_justify="left")
    for title in ("model", "precision"):
        found.add_column(title, overflow="fold")
    for title in ("kB", "GMACs", "ms", "±", "MB"):
        found.add_column(title, justify="right", no_wrap=True)
    found.add_column("score or note", overflow="fold")
    for line in lines:
        model, precision, _, size, gmacs, latency, spread, memory, *_ = _cells(line)
        found.add_row(model, precision, size, gmacs, latency, spread, memory, line.note or line.score)
    return found


def _exported(run: Path, int8: bool, trust_code: bool) -> Path:
    """The run's exported file; made if it is not there or older than the weights."""
    file = run / "export" / f"model{'-int8' * int8}.onnx"
    if file.is_file() and file.stat().st_mtime >= RunFolder(run).weights.stat().st_mtime:
        return file
    return export(run, int8=int8, out=file, force=int8, trust_code=trust_code).file


def _of_file(file: Path, name: str, memory_mb: int) -> Line:
    card = read(Card, file.with_suffix(".json"))
    given = [Given(one.name, one.length, one.kind, one.width) for one in card.inputs]
    found = _measured(Task("onnxruntime", str(file), dict(card.latency.clip), RUNS, memory_mb, inputs=given))
    scores = ", ".join(f"{score.metric} {score.exported:.3f} ({on})" for on, score in card.scores.items())
    note = "; ".join(filter(None, [found.error, *card.failures]))
    return Line(name, card.precision, "onnxruntime", card.bytes / 1e3, card.gmacs, *found.figures, scores, note)


def _bfloat16(run: Path, plain: Line, trust_code: bool) -> Line:
    """The model in PyTorch, on features as the model sees them; PyTorch itself is larger than any sensible cap."""
    clip = dict(RunFolder(run).read(ModelFacts).typical)
    found = _measured(Task("torch", str(run), clip, RUNS, 0, precision="bfloat16", trust_code=trust_code))
    weights = checkpoint.shapes(RunFolder(run).weights)
    size = 2 * sum(math.prod(shape) for name, shape in weights.items() if name.startswith("model/")) / 1e3
    note = found.error or "not capped; without resampling and normalising"
    return Line(run.name, "bfloat16", "PyTorch", size, plain.gmacs, *found.figures, "", note)


def _measured(task: Task) -> Figures:
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


def _cells(line: Line) -> list[str]:
    figures = (line.latency_ms, line.spread_ms, line.memory_mb, line.process_mb)
    shown = ["-" if value is None else f"{value:.2f}" for value in figures]
    return [line.model, line.precision, line.runtime, f"{line.size_kb:.0f}", f"{line.gmacs:.4f}", *shown, line.score,
            line.note]  # fmt: skip


def _write(lines: Sequence[Line], stem: Path, kind: str) -> None:
    rows = [{k: "" if v is None else str(v) for k, v in line._asdict().items()} for line in lines]
    write_table(stem.with_name(f"{stem.name}{kind}.csv"), rows)
    text = [list(_TITLES), ["---"] * len(_TITLES), *(_cells(line) for line in lines)]
    body = "".join(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n" for cells in text)
    write_text(stem.with_name(f"{stem.name}{kind}.md"), body)
