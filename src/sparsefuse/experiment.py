"""Experiments: a configuration and a grid of methods, folds and seeds in; one run folder per cell out.

A finished cell is never run again; a stopped one is resumed; a failed one is reported and costs the others nothing.
"""

import dataclasses
import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse.config import Config
from sparsefuse.files import read_json, write_json
from sparsefuse.run import check_same
from sparsefuse.workers import cores, each

log = logging.getLogger(__name__)


class Cell(NamedTuple):
    """One run of the grid."""

    name: str
    """what tables call it: the method, or `unimodal (rgb)`"""
    config: Config
    folder: Path
    root: Path
    threads: int


def compare(
    config: Config, methods: Sequence[str], seeds: Sequence[int], out: Path, *, root: Path, jobs: int = 0
) -> list[str]:
    """Runs every method with every seed (and fold) below `out`; returns a line for each cell that failed.

    `unimodal` stands for one run per modality. `jobs` processes share the cores (0 = one per core, one for a GPU); a
    run gets its own threads. Costs are measured afterwards, when the machine is quiet, method by method. Raises
    ValueError if a cell is there already with another configuration.
    """
    cells = grid(config, methods, seeds, out, root=root)
    for cell in cells:
        if (cell.folder / "config.json").exists():
            check_same(cell.config, cell.folder)
    jobs = min(jobs or _usual_jobs(config.train.device), len(cells))
    cells = [cell._replace(threads=max(cores() // jobs, 1)) for cell in cells]
    open_cells = [cell for cell in cells if not (cell.folder / "result.json").exists()]
    if len(open_cells) < len(cells):
        log.info("%d of %d cells are finished already", len(cells) - len(open_cells), len(cells))
    failed, told = [], set[str]()
    with _Board(cells) as board, closing(each(_run, open_cells, jobs, waiting=board.update)) as ended:
        for cell, found in ended:
            error, warnings = found or ("its process died", [])
            for warning in warnings:  # most are about the data, and every cell has the same to say
                if (text := warning.replace(str(cell.folder), "")) not in told:
                    log.warning("%s: %s", cell.folder.name, warning)
                    told.add(text)
            if error:
                failed.append(f"{cell.folder}: {error}")
                log.error("%s", failed[-1])
            else:
                log.info("%s is finished", cell.folder)
            board.update()
    _measure([cell for cell in cells if (cell.folder / "result.json").exists()])
    return failed


def _usual_jobs(device: str) -> int:
    """Runs on one GPU would wait for each other, and may not fit beside each other."""
    from sparsefuse.ranks import device_of

    return cores() if device_of(device) == "cpu" else 1


def grid(config: Config, methods: Sequence[str], seeds: Sequence[int], out: Path, *, root: Path) -> list[Cell]:
    """The cells of a comparison. Raises ValueError for whatever no cell could follow, before anything runs."""
    from sparsefuse.checks import check_config
    from sparsefuse.train import with_method

    cells = []
    folds = config.data.split.folds or [None]
    for method in methods:
        check_config(dataclasses.replace(config, method=method))
    _check_once("seeds", map(str, seeds))
    for seed in seeds:
        for method, name, options in _expanded(config, methods, root):
            for k, fold in enumerate(folds):
                cell = with_method(config, method, seed, **options)
                if fold is not None:
                    split = dataclasses.replace(config.data.split, by="group", test_groups=fold)
                    cell = dataclasses.replace(cell, data=dataclasses.replace(cell.data, split=split))
                where = re.sub(r"[^\w.-]+", "-", name).strip("-") + (f"-fold{k}" if fold is not None else "")
                cells.append(Cell(name, cell, out / f"{where}-seed{seed}", root, 1))
    return cells


def _check_once(what: str, names: Iterable[str]) -> None:
    """Two cells of one name would write to one folder."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{what}: {twice[0]!r} stands there twice; name each once (a file by another name)")


def _expanded(config: Config, methods: Sequence[str], root: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """(method, name, options): `unimodal` becomes one entry per modality."""
    from sparsefuse.data.manifest import read_manifest
    from sparsefuse.methods import find

    found = []
    _check_once("methods", (Path(method).stem for method in methods))
    for method in methods:
        find(method)
        if method != "unimodal":
            found.append((method, Path(method).stem, {}))
            continue
        manifest = read_manifest(
            root / config.data.manifest, label=config.data.label, modalities=config.data.modalities
        )
        found += [("unimodal", f"unimodal ({name})", {"modality": name}) for name in manifest.modalities]
    return found


class _Ended(NamedTuple):
    """How a cell ended."""

    error: str
    """what went wrong; empty if nothing did"""
    warnings: list[str]
    """what it warned of; in another process, a line of its own would tear the progress bar"""


def _run(cell: Cell) -> _Ended:
    """Trains a cell, in a worker process as a rule, without a word on the screen."""
    import torch

    from sparsefuse.train import train

    torch.set_num_threads(cell.threads)
    error = ""
    with _Collected() as warnings:
        try:
            train(cell.config, cell.folder, root=cell.root, resume=True, name=cell.name, measured=False, shown=False)
        except Exception as raised:  # whatever a method file of the user's raises
            error = f"{type(raised).__name__}: {raised}"
    return _Ended(error, warnings)


class _Collected(logging.Handler):
    """Keeps the library's warnings, in place of whoever would show them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    def __enter__(self) -> list[str]:
        self.above = logging.getLogger("sparsefuse")
        self.above.addHandler(self)
        self.above.propagate = False
        return self.texts

    def __exit__(self, *_: object) -> None:
        self.above.removeHandler(self)
        self.above.propagate = True


def _measure(cells: Sequence[Cell]) -> None:
    """Latency and memory, once per name; its other cells get the same figures, for they are the same model."""
    from sparsefuse.measure import Measured, measure
    from sparsefuse.methods import build
    from sparsefuse.ranks import device_of

    known: dict[str, dict[str, Any]] = {}
    for cell in cells:
        result = read_json(cell.folder / "result.json")
        if "latency_ms" in result["cost"]:
            known.setdefault(cell.name, {k: v for k, v in result["cost"].items() if k in Measured._fields})
    for cell in cells:
        result, facts = read_json(cell.folder / "result.json"), read_json(cell.folder / "model.json")
        if "latency_ms" in result["cost"]:
            continue
        if cell.name not in known:
            outputs = len(facts["labels"]["classes"]) or 1
            model = build(facts["method"], facts["features"], outputs, lengths=facts["lengths"], **facts["options"])
            model.to(device_of(cell.config.train.device))
            known[cell.name] = measure(model, facts["typical"])._asdict()
        result["cost"] |= known[cell.name]
        write_json(cell.folder / "result.json", result)


class _Board:
    """Progress over the grid: epochs done of all epochs, read off the cells' metrics.jsonl."""

    def __init__(self, cells: Sequence[Cell]):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.cells = cells
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
        self.progress = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
        self.task = self.progress.add_task("", total=sum(cell.config.train.epochs for cell in cells))
        self.read_at = 0.0

    def __enter__(self) -> "_Board":
        self.progress.start()
        self.update()
        return self

    def __exit__(self, *_: object) -> None:
        self.read_at = 0.0
        self.update()
        self.progress.stop()

    def update(self) -> None:
        """Reads how far the cells are, at most once a second."""
        if time.monotonic() - self.read_at < 1:
            return
        self.read_at = time.monotonic()
        epochs = finished = 0
        for cell in self.cells:
            done = (cell.folder / "result.json").exists()
            finished += done
            epochs += cell.config.train.epochs if done else _lines(cell.folder / "metrics.jsonl")
        self.progress.update(self.task, completed=epochs, description=f"{finished} of {len(self.cells)} runs")


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
