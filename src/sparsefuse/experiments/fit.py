"""One call from files to a model: a folder per class, or a manifest, in; a run folder with its report out."""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sparsefuse.checks import check
from sparsefuse.config import Config, Usual, merged
from sparsefuse.config.recipe import SETTINGS, Recipe
from sparsefuse.data.check.rules import RULES
from sparsefuse.data.check.screen import summary
from sparsefuse.data.clips import load_clips, told
from sparsefuse.data.labelled import people_column, unused_people
from sparsefuse.data.manifest import GROUP, JOIN, group_column, label_columns
from sparsefuse.errors import near_file, unknown
from sparsefuse.experiments.asked import check_asked
from sparsefuse.experiments.auto import auto, beside, judged_by_own
from sparsefuse.experiments.candidates import check_budget
from sparsefuse.experiments.clock import Clock
from sparsefuse.experiments.ensemble_selection import OTHERS, members_in
from sparsefuse.experiments.prepared import prepared
from sparsefuse.experiments.refit import refit_chosen
from sparsefuse.experiments.sources import check_sources, note_sources
from sparsefuse.features._default import default_features
from sparsefuse.features.extract import extract
from sparsefuse.files.rows import Table, read_table
from sparsefuse.methods import BASELINE, methods
from sparsefuse.report import check_page
from sparsefuse.report.page import write_report
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ENSEMBLE, Result
from sparsefuse.runs.summary import MAIN_METRIC, METRICS, chosen_by
from sparsefuse.shown import counted
from sparsefuse.training.extend import check_continues
from sparsefuse.training.train import train
from sparsefuse.training.unchanged import Unchanged

log = logging.getLogger(__name__)

SEARCHED = 0.75
"""of the time limit is for the search, if the chosen model is to be trained again"""
Again = Literal["always", "never", "in time"]
FEW = 500
"""Clips; with less, training takes smaller steps, more often."""
TELLING = 20
"""Clips of a split; with less, one is worth more than five points."""
LONGEST = 3000
"""Tokens of a stream that are used: 30 s of sound. On a laptop, more would take long."""


def fit(
    source: str | Path,
    *,
    method: str = "sft",
    out: str | Path = "runs/fit",
    label: str | None = None,
    group: str = GROUP,
    features: Mapping[str, Mapping[str, Any]] | Usual = "auto",
    recipe: Recipe = "auto",
    refit: bool = False,
    no_refit: bool = False,
    epochs: int = 0,
    seed: int = 0,
    gmacs: float | None = None,
    time_limit: str | float | None = None,
    jobs: int = 0,
) -> Path:
    """Prepares, checks, extracts, trains, reports; returns the run folder `out`. A rerun continues where one stopped.

    `source`: a folder per class, or a manifest of media, readings, text or features. The files decide what is extracted
    (`default_features`), unless `features` says; "auto" takes pretrained encoders that are installed, "raw" does not,
    and a rerun takes what the run began with. `label`: the manifest's column of labels, by default `label`, or the only
    one that may be it. `group`: that of what must stay within one split, as a person. `method` auto tries several
    (see `auto`) and keeps the best on the validation split, which alone is tested: of those that cost `gmacs` a
    clip at most, within `time_limit` (seconds, or 20m, 1.5h), extraction and earlier calls included. `recipe`: how
    training and augmentation are set; with less than 500 clips, batches are of 8 all the same. `epochs` 0: the
    recipe's, or 40 of few clips, 20 of many. `refit`: the scored model is trained once more, on the clips that
    validated it, too; then OUT-refit is returned. So it is with method auto where whole groups validated and time is
    left, unless `no_refit`. `jobs`: processes that extract, or runs at a time; 0 = one per
    core.
    Raises ValueError or FileNotFoundError for a source that cannot be used, or if `out` holds another run.
    """
    source, out = Path(source), Path(out)
    if method != "auto" and (gmacs is not None or time_limit):
        raise ValueError(f"gmacs and time_limit choose among methods; they need method auto, not {method}")
    if refit and no_refit:
        raise ValueError("refit and no_refit exclude each other; give one of them")
    if method not in (known := ["auto", BASELINE, *methods()]) and not method.endswith(".py"):
        raise ValueError(unknown("method", method, known))
    check_budget(gmacs)
    if not source.exists():
        raise FileNotFoundError(f"there is no folder or manifest {source}{near_file(source)}")
    manifest = prepared(source, out)
    clock = Clock.begin(out / "clock.json", time_limit)
    table = read_table(manifest)
    apart = group_column(manifest, table, group, option="--group")
    if not apart and (apart := people_column(table)):
        log.info("clips of one %s stay in one split; --group NAME keeps others together", apart)
    labels = label_columns(manifest, table, label, "--label", others=[apart])
    label = JOIN.join(labels)
    if person := unused_people(table.columns, apart):
        log.warning("clips of one %s may be in two splits; --group %s keeps them in one", person, person)
    if features == "auto" and RunFolder(out).started:
        features = RunFolder(out).read(Config).features
    if isinstance(features, str) or not features:
        wanted = features if isinstance(features, str) else "auto"
        features = default_features(table, manifest.parent, wanted, tables=True, others=[*labels, apart])
    elif not all("extractor" in spec for spec in features.values()):  # what is said, of what would be taken
        usual = default_features(table, manifest.parent, "auto", tables=True, others=[*labels, apart], stated=features)
        if stranger := next((name for name in features if name not in usual), None):
            raise ValueError(f"--features: {unknown('modality', stranger, usual)}")
        features = merged(usual, features)
    usual = {"epochs": 40, "batch_size": 8} if len(table.rows) < FEW else {}
    config = Config.load(
        data={
            "manifest": str(manifest),
            "label": label,
            "group": apart or group,
            "leaks": "warn",  # `check` says them
        },
        method="sft" if method == "auto" else method,
        features={name: dict(spec) for name, spec in features.items()},
        train={**usual, **SETTINGS.get(recipe, {}).get("train", {}), **({"epochs": epochs} if epochs else {})},
        recipe=recipe,
        seed=seed,
    )
    if method == "auto":
        check_asked(out, config, gmacs)
    _check_continues(RunFolder(out), config, chosen=method in ("auto", BASELINE))
    if begun := RunFolder(out).started or (out / OTHERS).exists():
        _check_contents(RunFolder(out), config, table)
    checked = _checked(config, out, jobs, source)
    _say("check", checked.line)
    if checked.longest > LONGEST:  # else exported models would pad whatever comes to it
        log.warning("the longest stream has about %d tokens; the first %d of each are used", checked.longest, LONGEST)
        config = replace(config, data=replace(config.data, max_length=LONGEST))
    if features:
        extracted = extract(manifest, out / "features", features=features, jobs=jobs)
        made = ", ".join(f"{name} ({_maker(spec)} of {spec['source']})" for name, spec in features.items())
        _say(
            "extract",
            f"{made}{f'; {len(extracted.skipped)} left out' if extracted.skipped else ''} -> {extracted.manifest}",
        )
        config = replace(config, data=replace(config.data, manifest=str(extracted.manifest)))
        if not begun:
            note_sources(manifest, out / "features")
    clock.note()
    with told(checked.kinds):
        again = "always" if refit else "never" if no_refit or method != "auto" else "in time"
        return _trained(config, out, clock, method=method, gmacs=gmacs, jobs=jobs, again=again)


def _trained(
    config: Config, out: Path, clock: Clock, *, method: str, gmacs: float | None, jobs: int, again: Again
) -> Path:
    """The run folder of the model, trained and reported; if it is trained `again` that of the last one."""
    name = ""
    if method == "auto":
        share = 1.0 if again == "never" else SEARCHED
        name, config = auto(config, out, clock=clock, gmacs=gmacs, jobs=jobs, share=share)
    if config.method == ENSEMBLE:
        _say("train", f"{name} -> {out}")
    else:
        _say("train", f"{name or config.method}, {counted(config.train.epochs, 'epoch')} -> {out}")
        train(config, out, resume=True, name=name)
    result = RunFolder(out).read(Result)
    if result.best_epoch:  # a baseline has no epochs
        _say(
            "kept", f"epoch {result.best_epoch} of {result.epochs}; chosen by: {chosen_by(config.train, result.splits)}"
        )
    _say("report", f"{_scores(result)} -> {write_report(out)}")
    if not result.splits.get("valid") or not _is_trained_again(out, result, clock, again):
        return out
    last = refit_chosen(out, beside(out))
    _say("refit", f"{_scores(RunFolder(last).read(Result))} -> {write_report(last)}")
    return last


def _is_trained_again(out: Path, result: Result, clock: Clock, again: Again) -> bool:
    """Whether to; `in time` asks for other groups that validated, and for as much time as the chosen ones took."""
    if again != "in time" or RunFolder(beside(out)).started:  # begun by an earlier call, which had the time
        return again != "never"
    data = RunFolder(out).read(Config).data
    rows = {split: part.rows for split, part in load_clips(data, Path()).splits.items()}
    if not any(row.group for row in rows["valid"]) or judged_by_own(rows["train"], rows["valid"]):
        return False
    seconds = sum(run.read(Result).seconds for run in members_in(out)) or result.seconds
    needed = seconds * (len(rows["train"]) + len(rows["valid"])) / len(rows["train"])
    if clock.used + needed > clock.limit:
        log.warning(
            "no time is left to train once more with the groups that validated (about %.0f s); the same command with "
            "--refit does",
            needed,
        )
        return False
    return True


def _check_continues(run: RunFolder, config: Config, *, chosen: bool) -> None:
    """As `check_continues`; of a run whose method and training are `chosen` by itself, what the caller says alone."""
    if chosen and run.started:
        began = run.read(Config)
        data = replace(began.data, label=config.data.label, group=config.data.group)
        config = replace(began, data=data, features=config.features, seed=config.seed)
    check_continues(run, config)


def _check_contents(run: RunFolder, config: Config, table: Table) -> None:
    """Raises ValueError, before anything is extracted or replaced, if clips of the run hold something else now."""
    manifest = Path(config.data.manifest)
    if config.features:
        check_sources(run, manifest, table, run.path / "features")
    elif run.started:
        began = run.read(Config)
        Unchanged().check(run, replace(began, data=replace(began.data, manifest=str(manifest))))


def _say(stage: str, text: str) -> None:
    log.info("%s: %s", stage, text)


def _maker(spec: Mapping[str, Any]) -> str:
    return f"{spec['extractor']} {spec['model']}" if spec.get("model") else spec["extractor"]


class _Checked(NamedTuple):
    """What `check` found."""

    line: str
    longest: float
    """tokens of the longest stream"""
    kinds: list[str]
    """of the problems"""


def _checked(config: Config, out: Path, jobs: int, source: Path) -> _Checked:
    """Logs what `check` finds. Raises ValueError if nothing can be trained on."""
    report = check(config, jobs=jobs)
    if source.is_dir():  # the manifest lies elsewhere, and its paths with it: name files as the user does
        place = Path(config.data.manifest).parent
        inside = f"{Path(os.path.relpath(source.resolve(), place.resolve())).as_posix()}/"
        problems = [
            p._replace(message=p.message.replace(f"{place}/{inside}", inside).replace(inside, f"{source}/"))
            for p in report.problems
        ]
        report = replace(report, problems=problems)
    for kind, problems in report.by_kind().items():
        if kind in ("manifest", "id", "unusable"):
            raise ValueError(problems[0].message)
        if problems[0].severity != "note":
            more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
            fix = RULES[kind].fix
            if source.is_dir():  # whose table nobody wrote
                fix = fix.replace("empty its cell", "delete the file").replace("take out the row", "delete its files")
            error = problems[0].severity == "error"  # the clip is left out, the others are used
            level, word = (logging.ERROR, "error: ") if error else (logging.WARNING, "")
            log.log(level, "%s%s: %s%s; to fix it: %s", word, kind, problems[0].message, more, fix)
    tokens = [size.tokens.max for size in report.modalities.values()]
    tokens += [100 * footage.seconds.max for footage in report.media.values() if footage.sounds]
    few = {split: sum(counts.values()) for split, counts in report.balance.items() if split in ("valid", "test")}
    if 0 < min(few.values(), default=0) < TELLING:
        log.warning(
            "%s, so models that differ by a few clips are alike; more clips say more, or folds: sparsefuse compare "
            "--data.manifest %s --data.split.k 5 --methods sft,late --seeds 0",
            ", and ".join(
                f"{counted(count, 'clip')} for {split}, where one is {100 / count:.0f} points"
                for split, count in few.items()
                if count
            ),
            out / "features" / "manifest.csv" if config.features else config.data.manifest,
        )
    splits = ", ".join(f"{split} {sum(counts.values())}" for split, counts in report.balance.items())
    page = check_page.write_page(report, out / "check.html", source)
    line = f"{counted(report.rows, 'clip')} ({splits}), {summary(report)} -> {page}"
    return _Checked(line, max(tokens, default=0), list(report.by_kind()))


def _scores(result: Result) -> str:
    split = "test" if result.test else "valid"
    main = MAIN_METRIC[result.task]
    value = result.scores(split)[main]
    text = f"{100 * value:.1f} %" if METRICS[main].share else f"{value:.3f}"
    return f"{METRICS[main].title} {text} on {counted(result.splits[split], f'{split} clip')}"
