"""A folder of run folders comes in; runs, and one row per method over its seeds, come out."""

import math
import os
import shlex
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from sparsefuse.config import Config, Train
from sparsefuse.data.fingerprint import difference
from sparsefuse.files.skipped import Skip
from sparsefuse.methods import BASELINE
from sparsefuse.runs.folder import EPOCHS, NAMES, RunFolder
from sparsefuse.runs.records import Choice, Environment, Epoch, Result, Scores

RUN_FILES = (NAMES[Result], EPOCHS, NAMES[Config])


class Run(NamedTuple):
    """One run folder."""

    folder: Path
    outcome: Result | None
    """None if the run did not finish"""
    epochs: list[Epoch]
    config: Config | None
    env: Environment | None
    skipped: list[Skip]
    choice: Choice | None = None
    """what it was chosen among"""

    @property
    def result(self) -> Result:
        """That of a finished run."""
        assert self.outcome, f"{self.folder} has no result"
        return self.outcome

    @property
    def name(self) -> str:
        if self.outcome:
            return self.outcome.name
        return self.config.method if self.config else self.folder.name


class Stat(NamedTuple):
    """A number over seeds."""

    mean: float
    std: float | None
    """Sample standard deviation (n - 1); None for one run."""


class Metric(NamedTuple):
    """How a test metric is shown."""

    title: str
    share: bool = True
    """In [0, 1], shown in percent."""
    higher_is_better: bool = True


METRICS = {
    "top1": Metric("Top-1"),
    "top5": Metric("Top-5"),
    "map": Metric("mAP"),
    "macro_f1": Metric("Macro-F1"),
    "miou": Metric("mIoU"),
    "macc": Metric("mAcc"),
    "pix_acc": Metric("Pixel accuracy"),
    "iou": Metric("IoU"),
    "map25": Metric("mAP@.25"),
    "map50": Metric("mAP@.5"),
    "ap25": Metric("AP@.25"),
    "ap50": Metric("AP@.5"),
    "mae": Metric("MAE", share=False, higher_is_better=False),
    "mse": Metric("MSE", share=False, higher_is_better=False),
    "psnr": Metric("PSNR", share=False),
    "ssim": Metric("SSIM", share=False),
    "kernel": Metric("Kernel distance", share=False, higher_is_better=False),
    "frechet": Metric("Fréchet distance", share=False, higher_is_better=False),
    "corr": Metric("Correlation", share=False),
}
UNITS = {"gmacs": "GMACs", "parameters": "parameters", "memory_mb": "MB", "latency_ms": "ms"}
"""Those of the costs that a budget limits."""
MAIN_METRIC = {"class": "top1", "multilabel": "map", "heads": "top1", "regression": "mae"}
MAIN_METRIC |= {"segment": "miou", "translate": "mae", "detect": "map25"}


def metric(name: str) -> Metric:
    """How a metric is shown, that of one head, stream, class or network too (`top1_verb`, `miou_depth`, `ap25_crate`,
    `kernel_vgg`)."""
    if name in METRICS:
        return METRICS[name]
    main = next((known for known in METRICS if name.startswith(f"{known}_")), "")
    return METRICS[main]._replace(title=f"{METRICS[main].title} {name.removeprefix(main + '_')}")


def chosen_by(spec: Train, splits: Mapping[str, int]) -> str:
    """Which epoch was kept: `loss of the validation split`."""
    if spec.best == "last":
        return "none, the last one is kept"
    over = f", mean over {spec.best_over} epochs" * (spec.best_over > 1)
    return f"{spec.best} of the {'validation' if splits.get('valid') else 'training'} split{over}"


def epochs_chosen_by(run: Run) -> str:
    """The same of a finished run; one that was adapted has the configuration, but not the clips, of that before."""
    if run.result.finetune:
        return "loss of clips held out in turns" if run.result.valid else "none, their number is fixed"
    return chosen_by(run.config.train, run.result.splits) if run.config else ""


def metric_names(result: Result) -> list[str]:
    """The metrics that a run may have, in the order in which they are shown."""
    seen = [name for name in {**result.test, **result.valid} if name.startswith(("kernel_", "frechet_"))]
    return [*METRICS, *(f"{name}_{head}" for head in result.heads or {} for name in ("top1", "top5")), *seen]


class Row(NamedTuple):
    """One method over its seeds: a line of the tables. A cost that was not measured is None."""

    name: str
    seeds: list[int]
    """Each once; with folds, what a seed scored is the mean over its folds."""
    metrics: dict[str, Stat]
    """By the names that `metric` takes."""
    split: str
    """whose metrics they are: test, or valid where no run was tested"""
    main: str
    """The metric that orders the rows."""
    warnings: list[str]
    """What makes the choice of checkpoints doubtful, and in how many runs."""
    doubt: str
    """Why it has no latency, and what measures it again; empty if nothing is wrong."""
    gmacs: float | None
    relative: float | None
    """GMACs over those of the reference."""
    reference: str
    """sft if its GMACs are known, else the cheapest method but for the baseline."""
    features_gmacs: float | None
    """Of the packaged encoders that made its features, which no other figure includes; None if none did."""
    paper_gmacs: float | None
    parameters: float | None
    memory_mb: float | None
    """Peak activations of a training step, per clip in batches of `batch`."""
    latency_ms: float | None
    """Median forward pass of one clip."""
    latency_spread_ms: float | None
    """Half the distance between the 10th and the 90th percentile."""
    batch: float | None
    load: float | None
    """Cores that other programs kept busy while its times were measured."""

    @property
    def n(self) -> int:
        return len(self.seeds)


def read_runs(folder: str | Path) -> list[Run]:
    """Every run folder at or below `folder`, by path; a killed run is one without a result."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; expected one that holds run folders")
    folders = sorted({path.parent for name in RUN_FILES for path in folder.rglob(name)})
    if not folders:
        raise FileNotFoundError(f"no runs in {folder}: no folder in it holds any of {', '.join(RUN_FILES)}")
    runs = [_read_run(path) for path in folders]
    _check_comparable([run for run in runs if run.outcome])
    return runs


def by_name(runs: list[Run]) -> dict[str, list[Run]]:
    """Finished runs grouped by name, each group in the order of its seeds."""
    groups: dict[str, list[Run]] = {}
    for run in sorted((run for run in runs if run.outcome), key=lambda run: run.result.seed):
        groups.setdefault(run.name, []).append(run)
    return groups


def every_class(runs: list[Run]) -> list[str]:
    """The classes of all runs; those of one fold may lack some that another has."""
    lists = [run.result.classes for run in runs]
    if all(names == lists[0] for names in lists):
        return lists[0]
    return sorted({name for names in lists for name in names})


def summarise(runs: list[Run]) -> list[Row]:
    """One row per name, best first: mean and deviation of every metric over seeds, and the cost.

    The metrics are the test split's; the validation split's, if no run was tested.
    """
    groups = by_name(runs)
    if not groups:
        raise ValueError(f"none of the {len(runs)} runs has finished (no result.json): there is nothing to report yet")
    gmacs = {name: _cost(group, "gmacs") for name, group in groups.items()}
    counted = {name: value for name, value in gmacs.items() if value}
    trained = [name for name in counted if groups[name][0].result.method != BASELINE] or list(counted)
    reference = "sft" if "sft" in counted else min(trained, key=lambda name: counted[name], default="")
    split = "test" if any(run.result.test for group in groups.values() for run in group) else "valid"
    remeasure = f"measure again on a quiet machine: sparsefuse cost --remeasure {_common([run.folder for run in runs])}"
    rows = []
    for name, group in groups.items():
        relative = counted[name] / counted[reference] if name in counted else None
        costs = {part: _cost(group, part) for part in Row._fields[-7:]}
        seeds, main = sorted({run.result.seed for run in group}), MAIN_METRIC[group[0].result.task]
        shares = Counter(warning for run in group for warning in run.result.warnings)
        warnings = [f"{warning} ({count} of {len(group)} runs)" for warning, count in shares.items()]
        stats, doubts = _metrics(group, split), [run.result.cost.doubt for run in group if run.result.cost.doubt]
        doubt = f"{doubts[0]}; {remeasure}" if doubts and costs["latency_ms"] is None else ""
        encoders = mean(sum(run.result.cost.features_gmacs.values()) or None for run in group)
        rows.append(
            Row(name, seeds, stats, split, main, warnings, doubt, gmacs[name], relative, reference, encoders, **costs)
        )
    return sorted(rows, key=_worst_last)


def losses(runs: list[Run]) -> str:
    """`3 of 64 clips unreadable; 8 have no sound and are used without it`; empty if no run lost any."""
    skips = {(skip.id, skip.modality) for run in runs for skip in run.skipped}
    unreadable = {id for id, modality in skips if not modality}
    lacking = Counter(modality for id, modality in skips if modality and id not in unreadable)
    used = max((sum(run.result.splits.values()) for run in runs if run.outcome), default=0)
    parts = [f"{len(unreadable)} of {used + len(unreadable)} clips unreadable"] if unreadable else []
    parts += [f"{n} {'has' if n == 1 else 'have'} no {name} and {'is' if n == 1 else 'are'} used without it"
              for name, n in sorted(lacking.items())]  # fmt: skip
    return "; ".join(parts if unreadable or not parts else [f"of {used} clips, {parts[0]}", *parts[1:]])


def taught(result: Result) -> str:
    """`taught by concat (92.3 at 0.015 GMACs): 92.1 at 0.0013 GMACs (Top-1, test)`; empty without teachers."""
    if not result.teachers:
        return ""
    main = MAIN_METRIC[result.task]
    split = "test" if main in result.test else "valid"

    def said(scores: Scores, gmacs: float | None) -> str:
        value = scores.get(main)
        score = "not scored" if value is None else f"{100 * value:.1f}" if metric(main).share else f"{value:.3f}"
        return score if gmacs is None else f"{score} at {gmacs:.2g} GMACs"

    teachers = [f"{t.name} ({said(t.test if split == 'test' else t.valid, t.gmacs)})" for t in result.teachers]
    own = said(result.scores(split), result.cost.gmacs)
    return f"taught by {' and '.join(teachers)}: {own} ({metric(main).title}, {split})"


def spread(values: list[float]) -> Stat:
    """Mean and deviation."""
    return Stat(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def wilson(share: float, clips: int) -> tuple[float, float]:
    """The 95 % interval of a share of so many clips (Wilson 1927): not of no width at 0 and 1."""
    z = statistics.NormalDist().inv_cdf(0.975)
    centre, shrink = share + z**2 / (2 * clips), 1 + z**2 / clips
    half = z * math.sqrt(share * (1 - share) / clips + z**2 / (4 * clips**2))
    return (centre - half) / shrink, (centre + half) / shrink


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are there."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None


def _read_run(folder: Path) -> Run:
    run = RunFolder(folder)
    return Run(
        folder, run.get(Result), run.epochs(), run.get(Config), run.get(Environment), run.skips(), run.get(Choice)
    )


def _check_comparable(finished: list[Run]) -> None:
    """One page compares methods on one data set, and the runs of one method differ in seed or fold."""
    folders: dict[tuple[str, int, str], Path] = {}
    firsts: dict[str, Run] = {}  # the first run of each fold; another fold may train on other classes
    for run in finished:
        result, fold = run.result, str(run.result.fold)
        like = firsts.setdefault(fold, run)
        for key in ("data", "task", "classes"):
            first = like if key == "classes" else finished[0]
            before, now = getattr(first.result, key), getattr(result, key)
            if before != now and not (key == "data" and os.path.realpath(before) == os.path.realpath(now)):
                raise ValueError(
                    f"{first.folder} and {run.folder} differ in {key!r} ({_short(before)} and {_short(now)}) and "
                    "cannot be compared: report on one experiment at a time"
                )
        changed = difference(like.result.clips, result.clips)
        if changed:
            raise ValueError(
                f"{like.folder} and {run.folder} were not made with the same clips ({changed}): the manifest or its "
                "files changed between them; remove the older one and train it again, or report on each alone"
            )
        cell = (run.name, result.seed, fold)
        if cell in folders:
            raise ValueError(
                f"{folders[cell]} and {run.folder} are both {run.name!r} with seed {result.seed}: "
                "report on one experiment at a time, or remove one"
            )
        folders[cell] = run.folder


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _metrics(group: list[Run], split: str) -> dict[str, Stat]:
    """Mean and sample deviation of the metrics that every run has; top-5 of five classes is always 1.

    Folds are averaged within a seed first: the deviation is over seeds, never over different test clips.
    """
    metrics = {}
    few = group[0].result.task == "class" and len(every_class(group)) <= 5
    for name in metric_names(group[0].result):
        scores = [
            (run.result.seed, run.result.scores(split)[name]) for run in group if name in run.result.scores(split)
        ]
        if len(scores) < len(group) or (name == "top5" and few):
            continue
        values = [statistics.fmean(v for s, v in scores if s == seed) for seed in sorted({s for s, _ in scores})]
        metrics[name] = spread(values)
    return metrics


def _cost(group: list[Run], part: str) -> float | None:
    return mean(getattr(run.result.cost, part) for run in group)


def _common(folders: list[Path]) -> str:
    """The folder that holds all, as a shell takes it."""
    return shlex.quote(os.path.commonpath(folders))


def _worst_last(row: Row) -> float:
    if row.main not in row.metrics:
        return math.inf
    return row.metrics[row.main].mean * (-1 if METRICS[row.main].higher_is_better else 1)
