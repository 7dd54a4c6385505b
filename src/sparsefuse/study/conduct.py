"""A study: a configuration in; all runs of its experiments, and study.json with their places in them, out."""

import inspect
import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from sparsefuse.checks import check_config
from sparsefuse.config import Config, ConfigLike, Data
from sparsefuse.data.clips import load_clips
from sparsefuse.data.labels import task_of
from sparsefuse.data.manifest import read_manifest
from sparsefuse.data.split import split_rows
from sparsefuse.errors import unknown
from sparsefuse.experiments.grid import Cell, Engine, grid, run
from sparsefuse.experiments.variants import Variant
from sparsefuse.files.whole import write_json
from sparsefuse.methods import find
from sparsefuse.report.table import Table
from sparsefuse.study import robustness
from sparsefuse.study.claims import claims
from sparsefuse.study.page import write_page
from sparsefuse.study.plan import EXPERIMENTS, ClipFacts, Entry, entries
from sparsefuse.study.results import Results
from sparsefuse.study.tables import tables
from sparsefuse.training.options import options_of

log = logging.getLogger(__name__)

OF_T1 = ("t1", "t2", "robustness")


class Studied(NamedTuple):
    """What a study wrote."""

    folder: Path
    page: Path | None
    """report.html; None if no run finished"""
    failed: list[str]
    """a line for each run that failed"""

    @property
    def tables(self) -> dict[str, Table]:
        """The claims and their verdicts (claims), and the paper's tables on this data: t1 ... t5, f2, robustness ..."""
        results = Results(self.folder)
        return tables(results, claims(results))


def study(
    config: ConfigLike = None,
    out: str | Path = "runs/study",
    *,
    root: str | Path = "",
    jobs: int = 0,
    engine: Engine = "local",
    **fields: object,
) -> Studied:
    """Runs the SFT paper's experiments on a configuration's data, as far as they are missing below `out`, and reports.

    `config` and `fields` are what `Config.load` takes; its section `study` lists experiments and seeds. `root` is the
    folder that the manifest's path is relative to; for `jobs` and `engine` see `experiments.grid.run`. Raises
    ValueError for an unknown experiment, fewer than two seeds, data that is not one class per clip, or a class that the
    training clips lack.
    """
    config, out, root = Config.load(config, **fields), Path(out), Path(root)
    check_config(config)
    spec = config.study
    for field, seeds in (("seeds", spec.seeds), ("t1_seeds", spec.t1_seeds)):
        if len(set(seeds)) < 2:
            raise ValueError(f"study.{field} is {seeds}; a deviation needs two different seeds or more")
    for name in spec.experiments:
        if name not in EXPERIMENTS:
            raise ValueError(unknown("experiment", name, EXPERIMENTS))
    data = _one_fold(config)
    check_classes(data, root)
    clips = load_clips(data, root)
    clip = ClipFacts(tuple(clips.features), max(clips.longest.values()))
    plan = shared({name: entries(name, clip) for name in spec.experiments}, config)
    if "t5" in plan and not config.train.mixup_alpha:
        raise ValueError("t5 compares mixup with none, and train.mixup_alpha is 0; give it a value, the paper's is 0.3")
    cells: dict[Path, Cell] = {}
    for name, places in plan.items():
        seeds = spec.t1_seeds if name in OF_T1 else spec.seeds
        variants = list({entry.variant.name: entry.variant for entry in places}.values())
        cells |= {cell.folder: cell for cell in grid(config, variants, seeds, out / "runs", root=root)}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "study.json", facts(config, plan, clip))
    failed = run(list(cells.values()), jobs=jobs, engine=engine)
    if "robustness" in plan:
        names = {entry.variant.name for entry in plan["robustness"]}
        robustness.measure([cell for cell in cells.values() if cell.name in names], jobs=jobs)
    finished = any(cell.run.finished for cell in cells.values())
    return Studied(out, write_page(out) if finished else None, failed)


def shared(plan: dict[str, list[Entry]], config: Config) -> dict[str, list[Entry]]:
    """The same plan, with one name for variants with the same model and training."""
    first: dict[str, Variant] = {}

    def first_alike(variant: Variant) -> Variant:
        changed = variant.of(config, 0)
        defaults = inspect.signature(find(variant.method).build).parameters
        options = {name: p.default for name, p in defaults.items() if p.default is not p.empty} | options_of(changed)
        key = json.dumps(
            [variant.method, options, asdict(changed.train), asdict(changed.data)], sort_keys=True, default=str
        )
        return first.setdefault(key, variant)

    return {
        name: [entry._replace(variant=first_alike(entry.variant)) for entry in places] for name, places in plan.items()
    }


def facts(config: Config, plan: dict[str, list[Entry]], clip: ClipFacts) -> dict[str, object]:
    """study.json."""
    return {
        "experiments": {
            name: [{"name": e.variant.name, "curve": e.curve, "factor": e.factor} for e in places]
            for name, places in plan.items()
        },
        "modalities": clip.modalities,
        "margin": config.study.margin,
    }


def check_classes(data: Data, root: Path) -> None:
    """Raises ValueError unless clips have one class each, all with training clips; warns of untested classes."""
    manifest = read_manifest(
        root / data.manifest,
        label=data.label,
        separator=data.separator,
        modalities=data.modalities,
        group=data.group,
    )
    task = task_of(data.task, (row.label for row in manifest.rows), manifest.labels)
    if task != "class":
        raise ValueError(f"a study needs one class per clip; the labels of {manifest.path} are a {task} task")
    rows = split_rows(manifest, data.split, task)
    counts = {split: Counter(row.label for row in rows[split]) for split in ("train", "valid", "test")}
    for split, count in counts.items():
        if not count:
            raise ValueError(f"the {split} split of {manifest.path} is empty; a study needs all three")
    for label in _missing(counts["train"], (counts["valid"], counts["test"])):
        raise ValueError(f"class {label!r} has no training clip; leave it out, or split the clips differently")
    for split in ("valid", "test"):
        for label in _missing(counts[split], (counts["train"],)):
            log.warning("class %r has no clip in the %s split: it is not evaluated there", label, split)


def _missing(count: Counter[str], others: Iterable[Counter[str]]) -> list[str]:
    return sorted({label for other in others for label in other} - count.keys())


def _one_fold(config: Config) -> Data:
    """The data configuration of the first fold, if there are folds."""
    return replace(config.data, split=config.data.split.each_fold()[0])
