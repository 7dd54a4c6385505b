"""Trials: the poor ones are stopped, none sees the test split, and an ended one is not run again."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

import tiny
from sparsefuse.budget.front import finalists_of, front_of, table_of_trials
from sparsefuse.budget.limits import BudgetLimits
from sparsefuse.budget.proposals import Candidate
from sparsefuse.budget.trials import Goal, MedianPruner, Trial, Trials
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Epoch

LIMITS = BudgetLimits(gmacs=1.0)
TOP1, MAE = Goal("top1"), Goal("mae")


def candidate(gmacs: float, *, method: str = "late", **options: object) -> Candidate:
    return Candidate(method, dict(options), {"parameters": 10, "gmacs": gmacs})


def trial(score: float, gmacs: float, *, number: int = 0, method: str = "late", state: str = "finished") -> Trial:
    return Trial(number, candidate(gmacs, method=method), state, score, ())  # pyright: ignore[reportArgumentType]


def write_scores(folder: Path, *scores: float, name: str = "top1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    epochs = [Epoch(i, 0.1, 1.0, 1.0, {f"valid_{name}": score}) for i, score in enumerate(scores, 1)]
    RunFolder(folder).write_epochs(epochs)
    return folder


def test_a_curve_is_the_best_so_far(tmp_path: Path) -> None:
    assert TOP1.curve(write_scores(tmp_path, 0.5, 0.4, 0.7, 0.6)) == (0.5, 0.5, 0.7, 0.7)
    assert MAE.curve(write_scores(tmp_path, 0.5, 0.6, 0.4, name="mae")) == (0.5, 0.5, 0.4)


@pytest.mark.parametrize(
    ("scores", "stopped"),
    [
        ((0.1,), False),  # before a third of six epochs
        ((0.1, 0.1), True),
        ((0.5, 0.1), False),  # the best so far counts
        ((0.4, 0.1), False),  # the median is .35: (.3 + .4) / 2
        ((0.34, 0.1), True),
        ((0.4, 0.4, 0.4), True),  # the rivals went on: (.4 + .5) / 2
        ((0.1,) * 6, False),  # it is whole
    ],
)
def test_a_run_is_stopped_below_the_median_of_its_rivals_at_that_epoch(
    tmp_path: Path, scores: tuple[float, ...], stopped: bool
) -> None:
    rivals = ((0.9, 0.2, 0.2), (0.9, 0.3, 0.4), (0.9, 0.4, 0.5), (0.9, 0.5, 0.6))
    assert MedianPruner(TOP1, rivals, 6)(write_scores(tmp_path, *scores)) == stopped
    if len(scores) < 6:
        fewer = MedianPruner(TOP1, rivals[:3], 6)
        assert not fewer(tmp_path), "three rivals say little"
        assert not MedianPruner(TOP1, tuple(curve[: len(scores) - 1] for curve in rivals), 6)(tmp_path)


def test_of_an_error_the_lower_is_the_better(tmp_path: Path) -> None:
    rivals = ((0.4, 0.2),) * 4
    assert MedianPruner(MAE, rivals, 6)(write_scores(tmp_path, 0.4, 0.3, name="mae"))
    assert not MedianPruner(MAE, rivals, 6)(write_scores(tmp_path, 0.4, 0.1, name="mae"))


class FixedProposals:
    """Candidates in a fixed order; records the scores."""

    rejected = 0

    def __init__(self, candidates: Sequence[Candidate]):
        self.left, self.scores = list(candidates), []

    def ask(self) -> Candidate | None:
        return self.left.pop(0) if self.left else None

    def tell(self, candidate: Candidate, score: float | None) -> None:
        self.scores.append((candidate, score))


MINE = """
from sparsefuse.methods import late

def build(features, num_classes, *, lengths=None, drop=0.0, blind=False):
    model = late.build(features, num_classes, lengths=lengths, drop=drop, unimodal_depth=1, dim=10, num_heads=2)
    if blind:
        for parameter in model.embed.parameters():
            parameter.requires_grad_(False).zero_()
    return model
"""


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    """Eight at most, six epochs each, in this process; the folder has a method mine.py."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    config = tiny.config(tiny.write_set(tmp_path / "data"), "late", epochs=6, lr=1e-2)
    return Trials(config, LIMITS, TOP1, tmp_path / "trials", Path(), 8, 1, 4)


GOOD = [candidate(0.5, method="mine.py", drop=drop) for drop in (0.0, 0.01, 0.02, 0.03)]
BAD, CHEAP_BAD = candidate(0.6, method="mine.py", blind=True), candidate(0.4, method="mine.py", blind=True, drop=0.1)
FAILS = candidate(0.5, method="mine.py", drop=2.0)


def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders that are trained in from now on."""
    from sparsefuse.training import epochs

    names: list[str] = []
    real = epochs.fit

    def fit(run, *args, **options):
        names.append(run.folder.path.name)
        return real(run, *args, **options)

    monkeypatch.setattr(epochs, "fit", fit)
    return names


@pytest.mark.slow
def test_a_poor_trial_is_stopped_unless_it_is_cheap_and_no_trial_is_tested(
    trials: Trials, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proposals = FixedProposals([*GOOD, BAD, CHEAP_BAD, FAILS])
    with caplog.at_level("INFO"):
        result = trials.run(proposals)  # pyright: ignore[reportArgumentType]
    assert [t.state for t in result] == ["finished"] * 4 + ["stopped", "finished", "failed"]
    assert [t.number for t in result] == list(range(7))
    assert len(result[4].curves[0]) < 6
    assert not (trials.out / "004" / "result.json").exists()
    assert proposals.scores[4] == (BAD, result[4].curves[0][-1])
    assert proposals.scores[6] == (FAILS, None)
    assert "trials/006: ValueError: dropout" in caplog.text
    assert f"with 0.6 of 1 GMACs; stopped after {len(result[4].curves[0])} epochs" in caplog.text
    assert "only 7 different candidates are within the budget" in caplog.text
    for number in (0, 1, 2, 3, 5):
        written = json.loads((trials.out / f"{number:03d}" / "result.json").read_text())
        assert written["test"] == {}
        assert written["valid"]["top1"] == result[number].score
    assert not list(trials.out.rglob("predictions.csv"))
    names = trained(monkeypatch)
    again = trials.run(FixedProposals([*GOOD, BAD, CHEAP_BAD, FAILS]))  # pyright: ignore[reportArgumentType]
    assert [t[:3] for t in again] == [t[:3] for t in result]
    assert names == [], "the failed one fails before it is trained"


@pytest.mark.slow
def test_trials_of_another_search_are_not_passed_off_as_this_ones(trials: Trials) -> None:
    trials.run(FixedProposals(GOOD[:1]))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"000 was started with options.*drop=0\.0, not 0\.01"):
        trials.run(FixedProposals(GOOD[1:]))  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_processes_run_the_same_trials(trials: Trials, tmp_path: Path) -> None:
    short = dataclasses.replace(trials.config, train=dataclasses.replace(trials.config.train, epochs=2))
    trials = trials._replace(config=short)
    alone = trials.run(FixedProposals(GOOD[:2]))  # pyright: ignore[reportArgumentType]
    beside = trials._replace(jobs=2, out=tmp_path / "beside").run(FixedProposals(GOOD[:2]))  # pyright: ignore[reportArgumentType]
    assert beside == alone


def test_the_front_is_what_nothing_beats() -> None:
    best, cheap, middle = trial(0.9, 0.8), trial(0.5, 0.1), trial(0.7, 0.4)
    beaten = [trial(0.9, 0.81), trial(0.6, 0.4), trial(0.5, 0.2)]
    unfinished = [trial(1.0, 0.01, state="stopped"), trial(math.nan, 0.01, state="failed")]
    assert front_of([cheap, *beaten, best, *unfinished, middle], LIMITS, TOP1) == [best, middle, cheap]
    assert front_of([trial(0.9, 0.8), trial(0.5, 0.8), trial(0.7, 0.4)], LIMITS, MAE) == [
        trial(0.5, 0.8),
        trial(0.7, 0.4),
    ]


def test_of_equal_scores_the_cheaper_is_first() -> None:
    """Cheaper by the limit that it comes nearest to."""
    limits = BudgetLimits(gmacs=1.0, parameters=100)
    few = Trial(0, Candidate("late", {}, {"gmacs": 0.9, "parameters": 10}), "finished", 0.5, ())
    light = Trial(1, Candidate("late", {}, {"gmacs": 0.1, "parameters": 80}), "finished", 0.5, ())
    assert front_of([few, light], limits, TOP1) == [light, few]


def test_finalists_are_the_best_of_all_or_the_best_of_each_method() -> None:
    best, beaten, cheap = trial(0.9, 0.4), trial(0.8, 0.8), trial(0.5, 0.1)
    stopped = trial(1.0, 0.1, state="stopped")
    assert finalists_of([cheap, stopped, beaten, best], LIMITS, TOP1, 2) == [best, beaten]
    other = [trial(0.3, 0.9, method="sft"), trial(0.4, 0.9, method="sft")]
    assert finalists_of([best, cheap, *other, stopped], LIMITS, TOP1, 1) == [best, other[1]]


def test_a_failed_trial_has_no_score_in_the_table() -> None:
    result = [trial(0.875, 0.25), trial(math.nan, 0.5, number=1, state="failed")]
    table = table_of_trials("Trials", result, TOP1)
    assert table.head == ["trial", "method", "state", "valid Top-1 %", "GMACs", "parameters", "options"]
    assert [row[:5] for row in table.lines] == [
        ["000", "late", "finished", "87.5", "0.25"],
        ["001", "late", "failed", "", "0.5"],
    ]
