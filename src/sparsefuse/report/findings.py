"""What a comparison says in sentences: finished runs in; whether fusion beats the baseline and the best single stream,
and which streams help, with intervals over seeds and test clips, out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from sparsefuse.methods import BASELINE
from sparsefuse.runs.answers import read_answers
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.statistics import DRAWS, Interval, interval, resampled
from sparsefuse.runs.summary import MAIN_METRIC, METRICS, Run, by_name

MOST = 20_000_000
"""numbers that resampling holds at a time"""
_OF = {"class": "Top-1", "heads": "Top-1", "multilabel": "clips with all labels right", "regression": "MAE"}

Groups = Mapping[str, Sequence[Run]]


def findings(runs: list[Run]) -> list[str]:
    """One sentence each; none where no test clips were predicted. Test clips choose nothing: what is compared is the
    best of its kind on the validation clips."""
    groups = {name: group for name, group in by_name(runs).items() if all(_predictions(run).is_file() for run in group)}
    reads = {name: frozenset(group[0].result.cost.lengths) for name, group in groups.items()}
    of_baseline = {name for name, group in groups.items() if group[0].result.method == BASELINE}
    fusions = [name for name in groups if len(reads[name]) > 1]
    deep = best(groups, [name for name in fusions if name not in of_baseline])
    simple = best(groups, [name for name in groups if name in of_baseline])
    fused, alone = best(groups, fusions), best(groups, [name for name in groups if len(reads[name]) == 1])
    said = []
    if deep and simple:
        said.append(beats(groups, "Deep fusion", _named_baseline(groups, simple), deep, simple))
    if fused and alone:
        said.append(beats(groups, "Fusion", "the best single stream", fused, alone))
    return [sentence for sentence in said if sentence] + list(_streams(groups, reads))


def best(groups: Groups, names: Sequence[str]) -> str:
    """The best on the validation clips; empty if there are none."""
    if not names:
        return ""
    main = MAIN_METRIC[groups[names[0]][0].result.task]
    sign = 1 if METRICS[main].higher_is_better else -1
    means = {
        name: sign * float(np.mean([run.result.valid[main] for run in groups[name]]))
        for name in names
        if all(main in run.result.valid for run in groups[name])
    }
    return max(means, key=lambda name: means[name], default="")


def beats(groups: Groups, first: str, second: str, a: str, b: str) -> str:
    """Whether `a` beats `b`; empty if they have no test clips or seeds in common."""
    if (found := _effect(groups, a, b)) is None:
        return ""
    effect, seeds, clips = found
    verdict = f"{first} beats {second}" if effect.low > 0 else f"{first} does not beat {second}"
    if effect.low <= 0 <= effect.high:
        verdict = f"Whether {first[0].lower()}{first[1:]} beats {second} is undecided"
    return f"{verdict}: {a} minus {b}, {_shown(groups, effect)} ({_counted(seeds, 'seed')}, {_counted(clips, 'clip')})"


def _named_baseline(groups: Groups, row: str) -> str:
    """What the baseline is, for readers who have not met it."""
    linear = "ridge" if groups[row][0].result.task == "regression" else "logistic"
    return f"the baseline (statistics of each stream, then {linear} regression or trees)"


def _streams(groups: Groups, reads: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """For each method with rows of all modalities but one, what that one adds."""
    for name in groups:
        for stream in sorted(reads[name]) if len(reads[name]) > 1 else ():
            rest = reads[name] - {stream}
            less = [other for other in groups if other.startswith(f"{name} ") and reads[other] == rest]
            found = _effect(groups, name, less[0]) if less else None
            if found:
                effect = found[0]
                verdict = "helps" if effect.low > 0 else "hurts" if effect.high < 0 else "makes no clear difference to"
                yield f"{stream} {verdict} {name}: with it minus without, {_shown(groups, effect)}"


def _effect(groups: Groups, a: str, b: str) -> tuple[Interval, int, int] | None:
    """What a test clip scores with `a` more than with `b`, and over how many seeds and clips both have."""
    marks = {name: _marks(groups[name]) for name in (a, b)}
    seeds = sorted(set(marks[a]) & set(marks[b]))
    clips = sorted(set.intersection(*(set(marks[name][seed]) for name in (a, b) for seed in seeds))) if seeds else []
    if not clips:
        return None
    hits = {name: np.array([[marks[name][seed][clip] for clip in clips] for seed in seeds]) for name in (a, b)}
    draws = resampled(hits, draws=max(min(DRAWS, MOST // len(clips)), 100))
    return interval(float(hits[a].mean() - hits[b].mean()), draws[a] - draws[b]), len(seeds), len(clips)


def _marks(group: Sequence[Run]) -> dict[int, dict[str, float]]:
    """Seed -> test clip -> 1 for a right answer, or the negative error of a number; of all folds together."""
    marks: dict[int, dict[str, float]] = {}
    for run in group:
        number = run.result.task == "regression"
        for answer in read_answers(_predictions(run)):
            truth, told = answer.label, answer.predicted
            mark = -abs(float(truth) - float(told)) if number else float(truth == told)
            marks.setdefault(run.result.seed, {})[answer.id] = mark
    return marks


def _predictions(run: Run) -> Path:
    return RunFolder(run.folder).predictions


def _shown(groups: Groups, effect: Interval) -> str:
    """`+2.3 points of Top-1 [0.4, 4.2]`."""
    task = next(iter(groups.values()))[0].result.task
    if task == "regression":
        low, high = -effect.high, -effect.low
        return f"{-effect.effect:+.3f} of {_OF[task]} [{low:.3f}, {high:.3f}]"
    return f"{100 * effect.effect:+.1f} points of {_OF[task]} [{100 * effect.low:.1f}, {100 * effect.high:.1f}]"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
