"""`--method auto`: a configuration in; the run folder of the best of several methods out, with what it was chosen of.

candidates -> those inside the budget, by counting -> of streams that the baseline gains by -> successive halving on the
validation split -> the best
"""

import dataclasses
import logging
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sparsefuse.baseline.streams import streams_that_help
from sparsefuse.checks import check_one_test_split
from sparsefuse.config import Config
from sparsefuse.cost.count import count
from sparsefuse.data.clips import Clips, load_clips
from sparsefuse.data.manifest import Row
from sparsefuse.experiments.asked import check_asked, write_asked
from sparsefuse.experiments.candidates import SEVERAL, Helpful, candidates_of, check_budget, promising, streams_of
from sparsefuse.experiments.clock import Clock
from sparsefuse.experiments.ensemble_selection import OTHERS, select_ensemble
from sparsefuse.experiments.grid import Cell, grid, usual_jobs
from sparsefuse.experiments.halving import Halving, score_after
from sparsefuse.experiments.refit import refit_chosen
from sparsefuse.experiments.variants import Variant
from sparsefuse.inference.ensemble import ensemble
from sparsefuse.methods import BASELINE
from sparsefuse.report.choice import sentence
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ENSEMBLE, Candidate, Choice, ModelFacts, Result
from sparsefuse.runs.summary import MAIN_METRIC, METRICS, wilson
from sparsefuse.training import extend
from sparsefuse.training.train import new_model, train

log = logging.getLogger(__name__)


class Chosen(NamedTuple):
    """What `train` needs to go on with the run."""

    name: str
    config: Config


def auto(
    config: Config, out: Path, *, clock: Clock, gmacs: float | None = None, jobs: int = 0, share: float = 1.0
) -> Chosen:
    """Makes `out` the run of the best candidate, which has not seen the test split: `train` tests it. Or an ensemble of
    up to three, if their mean is better, which is tested. A call that was interrupted goes on, and what had ended
    stays as it is.

    `gmacs`: candidates of which a clip costs more are left out. `clock`: when its time is up, the best so far is
    chosen. `share` of it is for the search. `jobs`: runs at a time, 0 = one per core. What was tried, and what was left
    out, is in choice.json.
    Raises ValueError if all are over the budget or fail, without validation clips, or if the search that is there was
    asked for something else.
    """
    check_budget(gmacs)
    check_asked(out, config, gmacs)
    clips, run = load_clips(config.data, Path()), RunFolder(out)
    variants = candidates_of(config, clips)
    if run.started:
        name, epochs = run.read(ModelFacts).name, run.read(Config).train.epochs
        if run.read(Config).method == ENSEMBLE:
            return Chosen(name, run.read(Config))
        variant = next((one for one in variants if one.name == name), Variant(name, config.method))
        return Chosen(name, extend.with_epochs(variant.of(config, config.seed), epochs))
    main = MAIN_METRIC[clips.labels.task]
    if not len(clips.splits["valid"]):
        raise ValueError(
            "the best method is chosen by validation clips, and there are none; give more clips, or name a method"
        )
    if known := judged_by_own(clips.splits["train"].rows, clips.splits["valid"].rows):
        log.warning("%s", known)
    cells = grid(config, variants, [config.seed], out / OTHERS, root=Path(), tested=False)
    costs, left_out = _costs(cells, clips, gmacs)
    write_asked(out, config, gmacs)
    tried = [cell for cell in cells if cell.name not in left_out]
    halving = Halving(main, clock._replace(limit=clock.limit * share), jobs or usual_jobs(config.train.device))
    ranked = _baselines(halving, tried, costs)
    if helpful := _helpful([one for one in variants if one.name in ranked], ranked, clips, config.seed):
        left_out |= promising(variants, helpful, clips)
    tried = [cell for cell in tried if cell.name not in left_out]
    log.info("candidates: %s", ", ".join(cell.name for cell in tried))
    kept, failed = halving.run(tried, [costs[cell.name] for cell in tried])
    for cell in kept:  # what a baseline costs is known when it is fitted
        if gmacs is not None and (cost := cell.run.read(Result).cost.gmacs) > gmacs:
            failed[cell.name] = _over(cost, gmacs)
    kept = [cell for cell in kept if cell.name not in failed]
    if not kept:
        raise ValueError("\n".join(["no candidate could be trained:", *(f"{n}: {e}" for n, e in failed.items())]))
    candidates = [_candidate(cell, costs.get(cell.name), main, {**left_out, **failed}) for cell in cells]
    places = {cell.name: place for place, cell in enumerate(kept)}
    candidates.sort(key=lambda one: (places.get(one.name, len(places)), bool(one.left_out)))
    limit = clock.limit if math.isfinite(clock.limit) else None
    together = select_ensemble(kept, main, gmacs)
    if together:
        interval = wilson(together.score, len(clips.splits["valid"]))
        candidates.insert(0, Candidate(together.name, together.gmacs, 0, together.score, interval))
    members = [cell.name for cell in together.members] if together else []
    choice = Choice(main, len(clips.splits["valid"]), clock.used, limit, candidates, members)
    log.info("%s", sentence(choice))
    if together:
        shutil.rmtree(out / ENSEMBLE, ignore_errors=True)  # of a call that was stopped
        ensemble([cell.folder for cell in together.members], out / ENSEMBLE, name=together.name)
    chosen = RunFolder(out / ENSEMBLE) if together else kept[0].run
    found = Chosen(together.name if together else kept[0].name, chosen.read(Config))
    _move(chosen, run, choice)
    return found


def _baselines(halving: Halving, cells: Sequence[Cell], costs: Mapping[str, float]) -> list[str]:
    """Names of those that take no epochs, best first; they are the first numbers there are, and said."""
    first = [cell for cell in cells if cell.config.method == BASELINE]
    if not first:
        return []
    done, _ = halving.run(first, [costs[cell.name] for cell in first])
    scores = ", ".join(f"{cell.name} {score_after(cell, 1, halving.main):.3f}" for cell in done)
    log.info("the baseline's %s on the validation split: %s", METRICS[halving.main].title, scores)
    return [cell.name for cell in done]


def _helpful(baselines: Sequence[Variant], ranked: Sequence[str], clips: Clips, seed: int) -> Helpful | None:
    """Of three streams or more, those to read: by all groups in turns, or without groups by the ranks of baselines on
    the validation split."""
    reads = {one.name: streams_of(one, clips) for one in baselines}
    singles = [reads[name] for name in ranked if len(reads[name]) == 1]
    if len(clips.features) < SEVERAL or not singles:
        return None
    gain = streams_that_help(clips, sorted(set(reads.values()), key=sorted), seed=seed)
    if gain is None:
        return Helpful(reads[ranked[0]], singles[0], sure=False)
    shares = sorted(gain.shares.items(), key=lambda item: -item[1])
    log.info(
        "of groups that take turns, trees on statistics have right: %s; read: %s",
        ", ".join(f"{'+'.join(sorted(streams))} {share:.3f}" for streams, share in shares),
        ", ".join(sorted(gain.best)),
    )
    return Helpful(gain.best, next(streams for streams, _ in shares if len(streams) == 1), sure=True)


def train_auto(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    gmacs: float | None = None,
    time_limit: str | float | None = None,
    jobs: int = 0,
    refit: bool = False,
) -> Path:
    """As `train`, with the method that `auto` chooses, on the data as the configuration divides them. `refit`: what is
    chosen is trained once more, beside `out` (see `beside`), on the clips that validated too, for the best epochs.

    Raises FileExistsError if there is a search or a run in `out` and `resume` is off; else what `auto` raises.
    """
    config = dataclasses.replace(config, method="sft")  # any: the candidates' come in its place
    check_one_test_split(config)
    if not resume and (RunFolder(out).started or (out / OTHERS).exists()):
        raise FileExistsError(f"{out} holds a search already; continue it with --resume, or give another folder")
    clock = Clock.begin(out / "clock.json", time_limit)
    name, config = auto(config, out, clock=clock, gmacs=gmacs, jobs=jobs)
    if config.method != ENSEMBLE:
        train(config, out, resume=True, name=name)
    if refit:
        refit_chosen(out, beside(out))
    return out


def beside(out: Path) -> Path:
    """`runs/best-refit` of `runs/best`: its clips are divided otherwise, so no report compares the two."""
    return out.with_name(f"{out.resolve().name}-refit")


def judged_by_own(train: Sequence[Row], valid: Sequence[Row]) -> str:
    """What is wrong with a choice by clips of groups that train, if the manifest has groups; else empty."""
    shared = ({row.group for row in train} & {row.group for row in valid}) - {""}
    if not shared:
        return ""
    return (
        f"validation clips come from groups that also train ({', '.join(sorted(shared)[:3])}), so the one chosen may "
        "not be the best for new groups; set split.by=group and split.valid_by=group"
    )


def _costs(cells: list[Cell], clips: Clips, gmacs: float | None) -> tuple[dict[str, float], dict[str, str]]:
    """GMACs of a clip by name; and why a candidate is not tried. Raises ValueError if none can be."""
    costs, left_out = {}, {}
    for cell in cells:
        try:
            costs[cell.name] = count(new_model(cell.config, clips), clips.typical).total / 1e9
        except ValueError as error:  # options that the method refuses
            left_out[cell.name] = str(error)
            continue
        if gmacs is not None and costs[cell.name] > gmacs:
            left_out[cell.name] = _over(costs[cell.name], gmacs)
    if len(left_out) == len(cells) and costs:
        cheapest = min(costs, key=lambda name: costs[name])
        raise ValueError(f"gmacs={gmacs:g}: the cheapest method, {cheapest}, costs {costs[cheapest]:.3g} a clip")
    if not costs:
        raise ValueError("\n".join(["no candidate can be built:", *(f"{n}: {e}" for n, e in left_out.items())]))
    return costs, left_out


def _candidate(cell: Cell, gmacs: float | None, main: str, left_out: dict[str, str]) -> Candidate:
    """What became of it."""
    result, why = cell.run.get(Result), left_out.get(cell.name, "")
    if result is None:
        return Candidate(cell.name, gmacs, left_out=why or "no time was left")
    score = result.valid[main]
    interval = wilson(score, result.splits["valid"]) if main == "top1" else None  # a share of clips
    return Candidate(cell.name, result.cost.gmacs, result.epochs, score, interval, why)


def _over(cost: float, gmacs: float) -> str:
    return f"over the budget: {cost:.3g} of {gmacs:g} GMACs"


def _move(chosen: RunFolder, out: RunFolder, choice: Choice) -> None:
    """Makes `out` the chosen run; its result comes last, for it says that the rest is there."""
    result = chosen.file(Result)
    records = chosen.read(Config), chosen.read(ModelFacts)
    for file in chosen.path.iterdir():
        if file != result:
            os.replace(file, out.path / file.name)
    for record in records:
        out.write_located(record)  # their paths were relative to the folder that the run leaves
    out.write(choice)
    os.replace(result, out.path / result.name)
    chosen.path.rmdir()
