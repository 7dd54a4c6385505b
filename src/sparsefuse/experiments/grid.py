"""Experiments: variants of a configuration, folds and seeds in; one run folder per cell of that grid out.

A finished cell is never run again; a stopped one is resumed; a failed one is reported and does not stop the others.
"""

import dataclasses
import logging
import pickle
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sparsefuse.config import Config, ConfigLike
from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.experiments.measuring import measure_runs
from sparsefuse.experiments.progress import GridProgress
from sparsefuse.experiments.variants import Subsets, Variant, check_once, methods_of, package_of, values_of
from sparsefuse.extras import need
from sparsefuse.parallel.cores import cores, threads
from sparsefuse.parallel.memory import keep_memory
from sparsefuse.parallel.workers import each
from sparsefuse.report.page import write_tables
from sparsefuse.report.table import Table
from sparsefuse.runs.folder import RunFolder
from sparsefuse.shown import counted
from sparsefuse.training.followers import OnEpoch

log = logging.getLogger(__name__)

Engine = Literal["local", "ray"]


class Cell(NamedTuple):
    """One run of the grid."""

    name: str
    """its variant's"""
    config: Config
    folder: Path
    root: Path
    threads: int = 1
    tested: bool = True
    """whether the test split is scored at the end"""
    stop: Callable[[Path], bool] | None = None
    """called after each epoch: whether training ends there (see `train`); must be picklable"""
    on_epoch: OnEpoch | None = None
    """called after each epoch (see `train`); must be picklable"""

    @property
    def run(self) -> RunFolder:
        """The run folder."""
        return RunFolder(self.folder)

    @property
    def ended(self) -> bool:
        """Whether it has all its results."""
        return self.run.tested if self.tested else self.run.finished


def compare(
    config: ConfigLike = None,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    out: str | Path = "runs/compare",
    *,
    modalities: Sequence[Subsets] = ("all",),
    baseline: bool = True,
    root: str | Path = "",
    tested: bool = True,
    jobs: int = 0,
    engine: Engine = "local",
    on_epoch: OnEpoch | None = None,
    **fields: object,
) -> Table:
    """Trains every method with every seed (and fold) below `out`; returns the table of all runs there, best first.

    `config` and `fields` are what `Config.load` takes; `root` is the folder that the manifest's path is relative to.
    `methods`: names or .py files, all if none; `unimodal` stands for one run per modality. `modalities`: each = further
    rows of every method on each modality alone, leave-one-out = on all but one. `baseline`: rows of statistics and
    scikit-learn, of all modalities and of each (see `baseline.model`), too, but not on pixels. With `tested` off the
    test split is not scored, and the table is of the validation split. `jobs`, `engine`, and what a rerun does: see
    `run`.
    `on_epoch` is that of `train`, called in the process that trains: a function of a module, which can be pickled.
    Writes compare.csv, compare.md and report.html into `out` too. A run that fails stops no other; the table names it.
    Raises ValueError, before anything runs, for an invalid configuration, an unknown method, or another
    configuration than that of a run in `out`.
    """
    from sparsefuse.checks import check_config
    from sparsefuse.methods import BASELINE

    config, out = Config.load(config, **fields), Path(out)
    methods, notes = methods or package_of(config).methods(), []
    if BASELINE in methods or (baseline and config.data.task not in (*PIXEL_TASKS, *POINT_TASKS)):
        try:
            need("sklearn", "baseline", BASELINE if BASELINE in methods else "no row baseline: it")
            methods = list(dict.fromkeys([*methods, BASELINE]))
        except ImportError as error:
            if BASELINE in methods:
                raise
            notes = [str(error)]
    for method in methods:
        check_config(dataclasses.replace(config, method=method))
    variants = methods_of(config, methods, Path(root), modalities)
    cells = grid(config, variants, seeds, out, root=Path(root), tested=tested)
    failed = run(_with(on_epoch, cells), jobs=jobs, engine=engine)
    return write_tables(out, out / "compare", failed, notes)


def ablate(
    config: ConfigLike,
    option: str,
    values: Sequence[Any],
    seeds: Sequence[int] = (0, 1, 2),
    out: str | Path = "runs/ablate",
    *,
    root: str | Path = "",
    tested: bool = True,
    jobs: int = 0,
    engine: Engine = "local",
    on_epoch: OnEpoch | None = None,
    **fields: object,
) -> Table:
    """Trains the configuration's method with one option at several values, each with every seed; else as `compare`.

    `option`: one of the method (`pool`), of training (`train.lr`) or of the data (`data.noise`); several that change
    together are joined by +, as are their values. Writes ablate.csv, ablate.md and report.html into `out`.
    """
    config, out = Config.load(config, **fields), Path(out)
    if "data.modalities" in option.split("+") and config.data.task in PIXEL_TASKS:
        raise ValueError(
            "data.modalities decides which pictures count as a run's data, and no table holds runs on other data; vary "
            "`modalities`, an option of every method on pixels (--option modalities)"
        )
    cells = grid(config, values_of(config, option, values), seeds, out, root=Path(root), tested=tested)
    return write_tables(out, out / "ablate", run(_with(on_epoch, cells), jobs=jobs, engine=engine))


def grid(
    config: Config, variants: Sequence[Variant], seeds: Sequence[int], out: Path, *, root: Path, tested: bool = True
) -> list[Cell]:
    """The cells of an experiment. Raises ValueError for an invalid configuration, before anything runs."""
    from sparsefuse.checks import check_config

    places = [re.sub(r"[^\w.-]+", "-", variant.name).strip("-") for variant in variants]
    check_once("variants", places)
    check_once("seeds", map(str, seeds))
    cells = []
    for variant in variants:
        check_config(variant.of(config, 0))
    for seed in seeds:
        for variant, place in zip(variants, places, strict=True):
            whole = variant.of(config, seed)
            for split in whole.data.split.each_fold():
                cell = dataclasses.replace(whole, data=dataclasses.replace(whole.data, split=split))
                where = place if split.number is None else f"{place}-fold{split.number}"
                cells.append(Cell(variant.name, cell, out / f"{where}-seed{seed}", root, tested=tested))
    return cells


def _with(on_epoch: OnEpoch | None, cells: list[Cell]) -> list[Cell]:
    """The cells with this hook. Raises ValueError if it cannot be sent to other processes."""
    try:
        pickle.dumps(on_epoch)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "on_epoch is sent to other processes, so it must be a module-level function, not a lambda or a nested one "
            f"({error})"
        ) from error
    return [cell._replace(on_epoch=on_epoch) for cell in cells]


def run(cells: Sequence[Cell], *, jobs: int = 0, engine: Engine = "local") -> list[str]:
    """Trains all cells that are not finished; returns a line for each that failed.

    `jobs` processes share the cores (0 = one per core, one for a GPU); a cell gets its own threads. With the engine
    `ray` they are tasks of a Ray cluster instead, which must see the same files. Costs are measured afterwards, in
    this process, when no run is in training any more, variant by variant; times that cannot be trusted, when it is
    called again. Raises ValueError if a cell exists already with another configuration, or ended with other clips.
    """
    for cell in cells:
        if cell.run.started:
            cell.run.check_same(cell.config)
    check_unchanged([cell for cell in cells if cell.ended])  # of the others, training looks at the clips
    jobs = min(jobs or usual_jobs(cells[0].config.train.device), len(cells))
    each_threads = threads(jobs) if engine == "local" else 1  # a task of a cluster has one processor
    cells = [cell._replace(threads=each_threads) for cell in cells]
    if engine == "ray":  # its workers may have another current folder
        cells = [cell._replace(folder=cell.folder.resolve(), root=cell.root.resolve()) for cell in cells]
    open_cells = [cell for cell in cells if not cell.ended]
    if len(open_cells) < len(cells):
        log.info("%d of %d runs are finished already", len(cells) - len(open_cells), len(cells))
    if open_cells:  # at once: the first of them may take long
        names = ", ".join(dict.fromkeys(cell.name for cell in open_cells))
        log.info("training %s, %d at a time: %s", counted(len(open_cells), "run"), min(jobs, len(open_cells)), names)
    failed, shown = [], set[str]()
    progress = GridProgress({cell.folder: cell.config.train.epochs for cell in cells})
    with progress, closing(_engine(engine)(run_cell, open_cells, jobs, waiting=progress.update)) as ended:
        for cell, result in ended:
            error, warnings = result or ("its process died", [])
            for warning in warnings:  # most are about the data, and the same in every cell
                if (text := warning.replace(str(cell.folder), "")) not in shown:
                    log.warning("%s: %s", cell.folder.name, warning)
                    shown.add(text)
            if error:
                failed.append(f"{cell.folder}: {error}")
                log.error("%s", failed[-1])
            else:
                log.info("%s is finished", cell.folder)
            progress.update()
    measure_runs([cell.run for cell in cells if cell.run.finished], cells[0].config.train.device)
    return failed


def check_unchanged(cells: Sequence[Cell]) -> None:
    """Raises ValueError, saying what differs, if the clips of one, which are not read again, changed since."""
    if cells:
        from sparsefuse.training.unchanged import Unchanged  # it loads torch

        unchanged = Unchanged()
        for cell in cells:
            unchanged.check(cell.run, cell.config, cell.root)


def _engine(name: Engine) -> Any:
    """`workers.each`, or the same on a Ray cluster."""
    if name == "local":
        return each
    from sparsefuse.parallel.ray import each as each_on_ray

    return each_on_ray


def usual_jobs(device: str) -> int:
    """One per core; 1 on a GPU, where runs would compete for time and memory."""
    from sparsefuse.parallel.devices import device_of

    return cores() if device_of(device) == "cpu" else 1


class Ended(NamedTuple):
    """How a cell ended."""

    error: str
    """what went wrong; empty if nothing did"""
    warnings: list[str]
    """its warnings; printed by another process, they would break the progress bar"""


def run_cell(cell: Cell) -> Ended:
    """Trains a cell, usually in a worker process, without output."""
    import torch

    from sparsefuse.training.train import train

    keep_memory()
    torch.set_num_threads(cell.threads)
    error = ""
    with Collected() as warnings:
        try:
            train(
                cell.config,
                cell.folder,
                root=cell.root,
                resume=True,
                name=cell.name,
                measured=False,
                tested=cell.tested,
                shown=False,
                stop=cell.stop,
                on_epoch=cell.on_epoch,
            )
        except Exception as raised:  # a user's method file may raise anything
            error = f"{type(raised).__name__}: {raised}"
    return Ended(error, warnings)


class Collected(logging.Handler):
    """Collects the library's warnings instead of showing them."""

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
