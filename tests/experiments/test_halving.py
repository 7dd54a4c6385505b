"""Successive halving: who goes on, to how many epochs, and what a limit of time leaves."""

import dataclasses
import json
from pathlib import Path

import pytest

import tiny
from sparsefuse.config import Config, Train
from sparsefuse.experiments import clock as clocks
from sparsefuse.experiments import halving
from sparsefuse.experiments.clock import Clock, seconds_of
from sparsefuse.experiments.grid import Cell, Ended, grid, run_cell
from sparsefuse.experiments.halving import Halving, rungs, score_after
from sparsefuse.experiments.variants import Variant
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Epoch, Result


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the clock reads, to be changed."""
    time = [1000.0]
    monkeypatch.setattr(clocks.time, "monotonic", lambda: time[0])
    return time


@pytest.mark.parametrize(
    ("runs", "epochs", "expected"),
    [
        (7, 40, [(7, 10), (4, 20), (2, 40)]),
        (12, 40, [(12, 5), (6, 10), (3, 20), (2, 40)]),
        (3, 9, [(3, 5), (2, 9)]),
        (2, 40, [(2, 40)]),
        (1, 3, [(1, 3)]),
        (9, 1, [(9, 1)]),
        (9, 2, [(9, 1), (5, 2)]),
    ],
)
def test_half_the_runs_get_twice_the_epochs(runs: int, epochs: int, expected: list[tuple[int, int]]) -> None:
    cell = Cell("", Config(train=Train(epochs=epochs)), Path(), Path())
    assert [(rung.runs, rung.of(cell)) for rung in rungs(runs, epochs)] == expected


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("20m", 1200), ("1.5h", 5400), (30, 30), (0.5, 0.5)]
)
def test_a_limit_is_a_number_and_its_unit(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["20 minutes", "-3m", "0", "m", "1d", "nan", "1e3s"])
def test_another_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected seconds, or a number and its unit: 90s, 20m, 1.5h"):
        seconds_of(text)


def test_a_clock_goes_on_where_the_last_call_noted_it(tmp_path: Path, now: list[float]) -> None:
    clock = Clock.begin(tmp_path / "clock.json", "100s")
    now[0] += 60
    assert not clock(tmp_path)
    now[0] = 5.0  # after a restart of the machine
    clock = Clock.begin(tmp_path / "clock.json", "100s")
    assert clock.used == 60
    now[0] += 39
    assert not clock(tmp_path)
    now[0] += 1
    assert clock(tmp_path)
    assert Clock.begin(tmp_path / "clock.json", "2m").up is False


SCORES = {"poor": [0.1, 0.1, 0.1, 0.1], "late": [0.2, 0.5, 0.6, 0.9], "soon": [0.4, 0.4, 0.4, 0.4],
          "dear": [0.4, 0.4, 0.4, 0.4]}  # fmt: skip
GMACS = {"poor": 1.0, "late": 4.0, "soon": 2.0, "dear": 3.0}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, now: list[float]) -> list[tuple[str, int]]:
    """Training takes 10 s an epoch and scores as `SCORES`; (name, epochs that it ended with) of each call."""
    calls = []

    def train(cell: Cell) -> Ended:
        run, wanted = cell.run, cell.config.train.epochs
        run.path.mkdir(parents=True, exist_ok=True)
        run.write(cell.config)
        run.file(Result).unlink(missing_ok=True)
        calls.append((cell.name, wanted))
        for epoch in range(run.num_epochs, wanted):
            score = SCORES[cell.name][epoch]
            run.add_epoch(Epoch(epoch + 1, 0.1, 1.0, 10.0, {"valid_loss": 1 - score, "valid_top1": score}))
            now[0] += 10
            if cell.stop and cell.stop(run.path):
                return Ended("", [])
        run.file(Result).write_text(json.dumps("a result"))
        return Ended("", [])

    monkeypatch.setattr(halving, "run_cell", train)
    return calls


def halve(folder: Path, limit: str = "") -> tuple[list[str], dict[str, str]]:
    """Of the four in `SCORES`, for four epochs."""
    cells = [
        Cell(name, Config(train=Train(epochs=len(scores))), folder / name, Path(), tested=False)
        for name, scores in SCORES.items()
    ]
    clock = Clock.begin(folder / "clock.json", limit)
    kept, failed = Halving("top1", clock, jobs=1).run(cells, [GMACS[name] for name in SCORES])
    return [cell.name for cell in kept], failed


def test_the_better_half_goes_on_and_the_cheapest_of_equals_does(tmp_path: Path, trained: list) -> None:
    """4 of 2 epochs, cheapest first; late leads, and of soon and dear, which are equal, the cheaper gets all epochs."""
    assert halve(tmp_path) == (["late", "soon"], {})
    assert trained == [("poor", 2), ("soon", 2), ("dear", 2), ("late", 2), ("late", 4), ("soon", 4)]


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth, of one epoch, cheaper than all and better than soon."""
    monkeypatch.setitem(SCORES, "sure", [0.5])
    monkeypatch.setitem(GMACS, "sure", 0.5)


def test_one_epoch_is_a_model_when_time_is_up(tmp_path: Path, trained: list, sure: None) -> None:
    (tmp_path / "clock.json").write_text('{"seconds": 3600.0}')
    assert halve(tmp_path, "1m") == (["sure"], {})
    assert trained == [("sure", 1), ("sure", 1)]  # cut after its epoch, then ended there


def test_what_an_earlier_call_trained_stays_when_time_is_up(
    tmp_path: Path, trained: list, sure: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = halving.run_cell

    def killed(cell: Cell) -> Ended:
        if cell.config.train.epochs == 4:
            raise KeyboardInterrupt
        return train(cell)

    with monkeypatch.context() as patch:
        patch.setattr(halving, "run_cell", killed)
        with pytest.raises(KeyboardInterrupt):
            halve(tmp_path)
    del trained[:]
    (tmp_path / "clock.json").write_text('{"seconds": 3600.0}')
    kept, _ = halve(tmp_path, "1m")
    assert set(kept) == {"sure", "late", "soon", "dear", "poor"}
    assert not trained


def test_what_has_one_epoch_takes_no_place_among_those_that_are_halved(tmp_path: Path, trained: list) -> None:
    """Two of one epoch, as good as late is in the end or better than soon: still four are halved to two."""
    SCORES.update(sure=[0.9], fair=[0.5])
    GMACS.update(sure=0.5, fair=0.6)
    try:
        assert halve(tmp_path) == (["sure", "late", "fair", "soon"], {})
    finally:
        for name in ("sure", "fair"):
            del SCORES[name], GMACS[name]
    assert trained[:2] == [("sure", 1), ("fair", 1)]
    assert trained[2:] == [("poor", 2), ("soon", 2), ("dear", 2), ("late", 2), ("late", 4), ("soon", 4)]


def test_time_that_is_up_cuts_and_the_best_so_far_is_a_usable_model(tmp_path: Path, trained: list) -> None:
    """25 s: poor has its 20 s, soon is cut after one epoch of 10 s and is ended there, the others never begin."""
    assert halve(tmp_path, "25s") == (["soon", "poor"], {})
    assert trained == [("poor", 2), ("soon", 2), ("soon", 1)]
    assert {run.path.name: run.num_epochs for run in finished(tmp_path)} == {"poor": 2, "soon": 1}


def test_the_first_run_is_trained_an_epoch_whatever_the_time(tmp_path: Path, trained: list, now: list[float]) -> None:
    (tmp_path / "clock.json").write_text('{"seconds": 3600.0}')  # of extraction
    assert halve(tmp_path, "1m") == (["poor"], {})
    assert [run.num_epochs for run in finished(tmp_path)] == [1]


def test_a_killed_search_ends_as_one_that_was_not(
    tmp_path: Path, trained: list, monkeypatch: pytest.MonkeyPatch, now: list[float]
) -> None:
    """Killed in the second rung, it does not train the first again, and ranks it as it was then."""
    train = halving.run_cell

    def killed(cell: Cell) -> Ended:
        if cell.config.train.epochs == 4:
            train(cell._replace(config=_epochs(cell.config, 3)))  # late's third epoch, and no result
            cell.run.write(cell.config)
            cell.run.file(Result).unlink()
            raise KeyboardInterrupt
        return train(cell)

    with monkeypatch.context() as patch:
        patch.setattr(halving, "run_cell", killed)
        with pytest.raises(KeyboardInterrupt):
            halve(tmp_path, "125s")
    del trained[:]
    now[0] += 1e6  # passes between the calls, and does not count
    assert halve(tmp_path, "125s") == (["late", "soon"], {})
    assert trained == [("late", 4), ("soon", 4)]
    assert halve(tmp_path, "125s") == (["late", "soon"], {})
    assert len(trained) == 2, "nothing is trained again"
    assert Clock.begin(tmp_path / "clock.json").used == 120, "12 epochs of 10 s, before and after the kill"


def test_with_more_time_a_search_goes_on(tmp_path: Path, trained: list) -> None:
    halve(tmp_path, "25s")
    del trained[:]
    assert halve(tmp_path) == (["late", "soon"], {})
    assert trained == [("soon", 2), ("dear", 2), ("late", 2), ("late", 4), ("soon", 4)]


def test_a_run_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, trained: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = halving.run_cell
    monkeypatch.setattr(halving, "run_cell", lambda cell: Ended("bad", []) if cell.name == "late" else train(cell))
    assert halve(tmp_path) == (["soon", "dear"], {"late": "bad"})


def test_a_score_is_that_of_the_weights_that_were_kept_then(tmp_path: Path) -> None:
    """By the loss, which may fall while the score does, or as `train` says; later epochs do not count."""
    cell = Cell("late", Config(), tmp_path, Path())
    for epoch, (loss, top1) in enumerate([(3.0, 0.2), (1.0, 0.7), (2.0, 0.9), (0.5, 0.6)], 1):
        cell.run.add_epoch(Epoch(epoch, 0.1, 1.0, 10.0, {"valid_loss": loss, "valid_top1": top1}))

    def scores(**train: object) -> list[float]:
        config = Config.load(train=train)
        return [score_after(cell._replace(config=config), epochs, "top1") for epochs in (1, 2, 3, 4, 9)]

    assert scores() == [0.2, 0.7, 0.7, 0.6, 0.6]
    assert scores(best="top1") == [0.2, 0.7, 0.9, 0.9, 0.9]
    assert scores(best="last") == [0.2, 0.7, 0.9, 0.6, 0.6]
    assert scores(best_over=2) == [0.2, 0.7, 0.9, 0.6, 0.6], "mean losses 3, 2, 1.5, 1.25"


def finished(folder: Path) -> list[RunFolder]:
    return [run for path in sorted(folder.iterdir()) if (run := RunFolder(path)).finished]


def _epochs(config: Config, epochs: int) -> Config:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=epochs))


@pytest.mark.slow
def test_runs_that_are_cut_and_go_on_are_those_that_were_not(tmp_path: Path, now: list[float]) -> None:
    """With real training, of two methods: the second is cut after one of two epochs, then given the rest."""
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=2)
    (tmp_path / "clock.json").write_text('{"seconds": 60.0}')
    cells = grid(config, [Variant("late", "late"), Variant("concat", "concat")], [0], tmp_path / "runs", root=Path())
    cells = [cell._replace(tested=False) for cell in cells]
    cut, failed = Halving("top1", Clock.begin(tmp_path / "clock.json", 60), 1).run(cells, [1.0, 2.0])
    assert ([cell.name for cell in cut], failed) == (["late"], {})
    result = cut[0].run.read(Result)
    assert (result.epochs, len(cut[0].run.epochs())) == (1, 1)
    assert "it ended after 1 of 2 epochs: the time limit was reached" in result.warnings
    kept, _ = Halving("top1", Clock.begin(tmp_path / "clock.json"), 1).run(cells, [1.0, 2.0])
    assert {cell.name for cell in kept} == {"late", "concat"}
    whole = run_cell(cells[0]._replace(folder=tmp_path / "whole"))
    assert not whole.error
    assert tiny.epochs(cells[0].folder) == tiny.epochs(tmp_path / "whole")


def test_candidates_of_changed_features_are_not_ranked(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    (cell,) = grid(config, [Variant("late", "late")], [0], tmp_path / "others", root=Path(), tested=False)
    assert not run_cell(cell).error
    again = Halving("top1", Clock.begin(tmp_path / "clock.json", None), jobs=1)
    assert again.run([cell], [1.0])[1] == {}
    tiny.write_set(tmp_path / "data", seed=1)
    with pytest.raises(ValueError, match="late-seed0 was started with other contents of these clips"):
        again.run([cell], [1.0])
