"""The search for a budget: a configuration and limits in; the Pareto front, the chosen options, a trained model out.

    candidates  ->  those within the budget, by counting  ->  trials: one seed, the poor ones stopped early
                ->  the best of the front, with several seeds  ->  the best mean  ->  tested, once

Below `out`: search.json (its settings), candidates.jsonl (all candidates and their costs), trials/ and finalists/
(run folders that never saw the test split), front.csv, front.md, finalists.csv, trials.csv, chosen.json, chosen.yaml
(the configuration with the chosen options), chosen/ (the trained and tested model) and refit/.
"""

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, get_args

from sparsefuse.budget.chosen import write_yaml
from sparsefuse.budget.finals import Finals
from sparsefuse.budget.front import (
    Finalist,
    finalists_of,
    front_of,
    shown,
    table_of_finalists,
    table_of_trials,
)
from sparsefuse.budget.limits import BudgetLimits, Prices
from sparsefuse.budget.page import write_page
from sparsefuse.budget.proposals import Proposals, affordable
from sparsefuse.budget.sized import Samples, main_metric
from sparsefuse.budget.trials import Goal, Trials
from sparsefuse.checks import check_config
from sparsefuse.config import Config, ConfigLike
from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.data.clips import Clips, load_clips
from sparsefuse.data.fingerprint import Fingerprint
from sparsefuse.data.pixels.load import load_scenes
from sparsefuse.errors import unknown
from sparsefuse.experiments.grid import usual_jobs
from sparsefuse.experiments.variants import Subsets, check_once
from sparsefuse.files.typed import from_json
from sparsefuse.files.whole import read_json, write_json, write_text
from sparsefuse.methods import fusions, pixels
from sparsefuse.parallel.devices import device_of
from sparsefuse.report.table import Table
from sparsefuse.runs.folder import check_same_clips, check_same_settings
from sparsefuse.runs.summary import METRICS
from sparsefuse.training.options import options_of

log = logging.getLogger(__name__)

ROUND = 4
"""trials per round, unless there are more jobs"""


class SearchResult(NamedTuple):
    """The result of a search."""

    chosen: Path
    """the run folder of the chosen model, tested; with folds, the folder of one for each"""
    yaml: Path
    """its configuration"""
    front: Table
    """the Pareto front: trials that no other beats in both score and cost"""
    finalists: Table
    """the best, over several seeds"""
    page: Path
    """report.html"""
    refit: Path | None = None
    """the run folder of the model that learned from validation clips too"""


def budget(
    config: ConfigLike = None,
    methods: Sequence[str] = (),
    *,
    gmacs: float | None = None,
    latency_ms: float | None = None,
    memory_mb: float | None = None,
    params: float | None = None,
    trials: int = 30,
    epochs: int | None = None,
    seeds: Sequence[int] = (1, 2, 3),
    finalists: int = 3,
    refit: bool = False,
    modalities: Sequence[Subsets] = ("all",),
    out: str | Path = "runs/budget",
    root: str | Path = "",
    jobs: int = 0,
    **fields: object,
) -> SearchResult:
    """Searches the options of `methods` that score best on validation within a budget, and trains the best of them.

    `config` and `fields` are what `Config.load` takes; without `methods` the configuration's is searched, or of "auto"
    all but unimodal. The budget of one clip of median length: `gmacs` (multiply-adds in units of 1e9), `latency_ms` on
    this machine, `memory_mb` of a training step's activations, `params` trained. `modalities`: which ones a model reads
    is searched, too, each = all or any alone, leave-one-out = all or all but one. `root` is the folder that the
    manifest's path is relative to; `jobs`: runs at a time, 0 = one per core, or one on a GPU.

    `epochs` is the length of a trial, by default that of the configuration; trials use the configuration's seed. The
    best `finalists` (of several methods: the best of each) are then trained for all epochs with `seeds`, which trials
    did not use, each with other validation clips where `test_groups` fix the test split; the best mean is chosen. Its
    first seed's model is scored on the test split; no other model is. `refit` trains it once more, on the clips that
    validated too, for as many epochs as were best, in the mean. Writes all that, and report.html, below `out`; a killed
    search resumes.

    With folds (`data.split.folds` or `k`), every trial and finalist is trained in each, and scores the mean over their
    validation clips; the chosen options are tested in each at the end, and `chosen` holds a run for each. If one is
    chosen (`test_groups` or `fold`), that alone is used. Clips that test one fold validate another: they take part in
    the choice of options, though never of their own fold's weights. `refit` then trains on all clips.

    Raises ValueError without a limit, for limits that no model meets, for clips without a validation split, or if
    `out` holds another search.
    """
    config, out, root = Config.load(config, **fields), Path(out), Path(root)
    limits = BudgetLimits(gmacs, params, memory_mb, latency_ms)
    on_pixels = config.data.task in PIXEL_TASKS
    if config.method == "auto" and not methods:
        methods = pixels.fusions() if on_pixels else fusions()
    methods = list(methods) or [config.method]
    config = dataclasses.replace(config, method=methods[0])
    _check(config, limits, methods, seeds, modalities, trials=trials, finalists=finalists)
    split = config.data.split
    split = dataclasses.replace(split, folds=[]) if split.test_groups else split
    full = dataclasses.replace(config, data=dataclasses.replace(config.data, split=split))
    short = dataclasses.replace(full, train=dataclasses.replace(config.train, epochs=epochs or config.train.epochs))
    check_config(short)
    data = dataclasses.replace(config.data, split=split.each_fold()[0])
    clips = load_scenes(dataclasses.replace(config, data=data), root) if on_pixels else load_clips(data, root)
    if not len(clips.splits["valid"]):
        raise ValueError("the validation split is empty, and the search chooses by it; see data.split.fractions")
    jobs = jobs or usual_jobs(config.train.device)
    settings = {"limits": limits._asdict(), "methods": methods, "trials": trials, "epochs": short.train.epochs}
    settings |= {"seeds": list(seeds), "finalists": finalists}
    settings |= {} if list(modalities) == ["all"] else {"modalities": list(modalities)}
    together = _begin(out, {**asdict(full), "budget": settings}, clips, max(jobs, ROUND))

    goal = Goal(main_metric(clips))
    prices = Prices(limits, clips, device_of(config.train.device), out / "candidates.jsonl")
    configured = {method: options_of(dataclasses.replace(config, method=method)) for method in methods}
    spaces, starts = affordable(configured, prices, modalities)
    proposals = Proposals(spaces, starts, prices, seed=config.seed, higher_is_better=goal.sign > 0)
    done = Trials(short, limits, goal, out / "trials", root, trials, jobs, together).run(proposals)
    front = table_of_trials("Pareto front", front_of(done, limits, goal), goal)
    write_text(out / "front.csv", front.csv())
    write_text(out / "trials.csv", table_of_trials("Trials", done, goal, ranked=False).csv())
    if not front.lines:
        raise ValueError(f"none of {len(done)} trials finished; {out / 'trials'} holds what they wrote")

    finals = Finals(full, limits, goal, seeds, out, root)
    ranked = finals.run(finalists_of(done, limits, goal, finalists), jobs)
    best = finals.choose(ranked, clips)
    last = table_of_finalists("Finalists", ranked, goal)
    write_text(out / "finalists.csv", last.csv())
    write_text(out / "front.md", "\n".join(f"{table.title}\n\n{table.markdown()}" for table in (front, last)))
    chosen = finals.test(best)
    comments = _comments(config, best, finals, len(done))
    write_yaml(out / "chosen.yaml", finals.whole_config(best, config), root, comments)
    whole = finals.refit(best) if refit else None
    return SearchResult(chosen, out / "chosen.yaml", front, last, write_page(out), whole)


def _check(
    config: Config,
    limits: BudgetLimits,
    methods: Sequence[str],
    seeds: Sequence[int],
    modalities: Sequence[str],
    *,
    trials: int,
    finalists: int,
) -> None:
    """Raises ValueError for invalid arguments, before any file is read."""
    limits.check()
    check_once("methods", (Path(method).stem for method in methods))
    check_once("seeds", map(str, seeds))
    for name in modalities:
        if name not in get_args(Subsets):
            raise ValueError(unknown("value of modalities", name, get_args(Subsets)))
    for name, number in {"--trials": trials, "--finalists": finalists, "the number of --seeds": len(seeds)}.items():
        if number < 1:
            raise ValueError(f"{name} is {number}; expected 1 or more")
    for method in methods:
        check_config(dataclasses.replace(config, method=method))
    own = [config.seed] if not config.data.split.test_groups else [config.seed, 0]  # see `finals._other_clips`
    if again := [seed for seed in seeds if seed in own]:
        text = (
            "seed %d of the finalists gives the first weights or the clips of the trials, whose best score is too high"
        )
        log.warning(f"{text}; give other --seeds", again[0])


def _begin(out: Path, settings: Mapping[str, object], clips: Samples, together: int) -> int:
    """Writes the settings to search.json; returns the trials per round, those of the first call if it is resumed."""
    path = out / "search.json"
    if not path.exists():
        prints = {split: asdict(fingerprint) for split, fingerprint in clips.fingerprints.items()}
        write_json(path, {**settings, "clips": prints, "contents": _contents(clips), "round": together})
        return together
    started = read_json(path)
    check_same_clips(from_json(dict[str, Fingerprint], started.pop("clips"), str(path)), clips.fingerprints, out)
    if started.pop("contents", contents := _contents(clips)) != contents:  # older searches do not know
        raise ValueError(
            f"{out} was started with other contents of these clips: files of features changed since; restore them, "
            "give another folder, or remove this one"
        )
    together = started.pop("round")
    check_same_settings(started, settings, out)
    return together


def _contents(clips: Samples) -> str:
    """A hash of what the training and validation clips hold; that of scenes is in their fingerprints."""
    return hashlib.sha256("\n".join(clips.seen).encode()).hexdigest()[:16] if isinstance(clips, Clips) else ""


def _comments(config: Config, best: Finalist, finals: Finals, trials: int) -> list[str]:
    """Comments of the YAML about its model."""
    title, n = METRICS[finals.goal.name].title, len(best.scores)
    lines = [
        f"Found by sparsefuse budget in {trials} trials, for {finals.limits.say(best.trial.candidate.costs)} a clip.",
        f"{title} on the validation split, which chose it: {shown(finals.goal, best.stat)} over {n} seeds.",
    ]
    split = config.data.split
    if (split.test_groups and split.folds) or split.fold is not None:
        lines.append("Searched with one fold: the clips that test the others were used to choose these options.")
    elif split.folds or split.k:
        lines.append("Searched over folds: the clips that test one were used, in others, to choose these options.")
    return lines
