"""A search under a budget: what it returns keeps it, the test split is used once, and a kill costs nothing."""

import csv
import dataclasses
import json
import logging
import shutil
from pathlib import Path

import pytest
import yaml

import tiny
from command import call
from sparsefuse import methods
from sparsefuse.budget import finals
from sparsefuse.budget.finals import Finals
from sparsefuse.budget.front import Finalist
from sparsefuse.budget.limits import BudgetLimits
from sparsefuse.budget.page import write_page
from sparsefuse.budget.proposals import Candidate
from sparsefuse.budget.search import SearchResult, budget
from sparsefuse.budget.trials import Goal, Trial
from sparsefuse.config import Config, Split
from sparsefuse.cost.count import count
from sparsefuse.cost.measure import Measured
from sparsefuse.data.clips import load_clips
from sparsefuse.export.device import members
from sparsefuse.files.rows import write_table
from sparsefuse.inference.predictor import load
from sparsefuse.runs.folder import RunFolder

LIMITS = BudgetLimits(gmacs=2e-5, parameters=4000)
MINE = """
from sparsefuse.methods import late

def build(features, num_classes, *, lengths=None, dim: int = 6, bias_depth: int = 2, stride: int = 1):
    return late.build(features, num_classes, lengths=lengths, dim=dim, num_heads=1, stride=stride, unimodal_depth=1)
"""


class Killed(BaseException):
    """As sudden as a signal, within the process."""


class Made:
    """Two methods, one of them a user's file, searched in six trials of two epochs; two seeds for the finalists."""

    def __init__(self, folder: Path):
        (folder / "mine.py").write_text(MINE)
        self.config = tiny.config(tiny.write_set(folder / "data"), epochs=2, lr=1e-2)
        self.methods = ["sft", str(folder / "mine.py")]

    def search(self, out: Path, limits: BudgetLimits = LIMITS, **changed) -> SearchResult:
        given = {"methods": self.methods, "trials": 6, "seeds": [1, 2], "jobs": 1, **changed}
        kept = limits._asdict()
        return budget(self.config, out=out, params=kept.pop("parameters"), **kept, **given)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def out(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "budget"
    made.search(out)
    return out


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.slow
def test_every_model_it_returns_keeps_the_budget(out: Path) -> None:
    runs = [path.parent for path in out.rglob("result.json")]
    assert len(runs) > 8
    for run in runs:
        model = load(run, trust_code=True).model
        found = count(model, json.loads((run / "model.json").read_text())["typical"])
        assert found.total / 1e9 <= 2e-5, run
        assert found.parameters <= 4000, run
    lines = [json.loads(line) for line in (out / "candidates.jsonl").read_text().splitlines()]
    over = [line for line in lines if line["costs"].get("gmacs", 0) > 2e-5 or line["costs"]["parameters"] > 4000]
    assert over, "the budget must bind for this test to say much"


@pytest.mark.slow
def test_the_test_split_is_scored_once_by_the_chosen_run_alone(out: Path) -> None:
    tested = [path.parent for path in out.rglob("result.json") if result_of(path.parent)["test"]]
    assert tested == [out / "chosen"]
    assert list(out.rglob("predictions.csv")) == [out / "chosen" / "predictions.csv"]


@pytest.mark.slow
def test_the_best_mean_on_the_validation_split_is_chosen(out: Path) -> None:
    means = {}
    for row in {row["trial"]: row for row in table(out / "trials.csv")}.values():
        runs = list((out / "finalists").glob(f"{row['method']}-{row['trial']}-seed*"))
        if runs:
            assert len(runs) == 2
            scores = [result_of(run)["valid"]["top1"] for run in runs]
            means[int(row["trial"])] = (-sum(scores), float(row["GMACs"]) / 2e-5, float(row["parameters"]) / 4000)
    best = min(means, key=lambda n: (means[n][0], max(means[n][1:])))
    assert json.loads((out / "chosen.json").read_text())["trial"] == best
    assert result_of(out / "chosen")["seed"] == 1
    cost = result_of(out / "chosen")["cost"]
    assert cost.keys() >= {"gmacs", "memory_mb"}
    assert "latency_ms" in cost or cost.get("doubt")  # other tests take its cores, at times those of batches alone


@pytest.mark.slow
def test_several_methods_are_each_a_finalist(out: Path) -> None:
    trials = {row["method"] for row in table(out / "trials.csv")}
    assert trials == {"sft", "mine"}
    assert {path.name.split("-")[0] for path in (out / "finalists").iterdir()} == trials


@pytest.mark.slow
def test_the_front_is_the_finished_trials_that_no_other_beats(out: Path) -> None:
    rows = [row for row in table(out / "trials.csv") if row["state"] == "finished"]

    def beaten(row: dict, other: dict) -> bool:
        better = [float(row["valid Top-1 %"]) <= float(other["valid Top-1 %"])]
        better += [float(row[cost]) >= float(other[cost]) for cost in ("GMACs", "parameters")]
        return all(better) and row != other | {k: row[k] for k in ("trial", "method", "options")}

    front = [row["trial"] for row in rows if not any(beaten(row, other) for other in rows)]
    assert sorted(row["trial"] for row in table(out / "front.csv")) == sorted(front)
    assert len(front) < len(rows)


@pytest.mark.slow
def test_the_page_names_the_front_the_limits_and_the_chosen_model(out: Path, tmp_path: Path) -> None:
    page = write_page(out, tmp_path / "page.html").read_text()
    for row in table(out / "front.csv"):
        assert page.count(f">{row['trial']}<") >= 2, "in the front's table and in that of all trials"
        assert page.count(f">{row['trial']}</text>") == 2, "in the figure of either limit"
    assert "2e-05 GMACs and 4000 parameters" in page
    chosen = result_of(out / "chosen")
    assert f">{100 * chosen['test']['top1']:.1f}<" in page
    assert f">{chosen['name']}<" in page
    doubted = bool(chosen["cost"].get("doubt")) and "latency_ms" not in chosen["cost"]
    assert page.count("<strong>Warning.</strong>") == len(chosen["warnings"]) + doubted


def test_the_page_of_a_search_that_has_not_ended_says_how_to_end_it(tmp_path: Path) -> None:
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(ValueError, match="has not finished; run its `sparsefuse budget` command again"):
        write_page(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_the_chosen_options_train_from_the_command_line_to_the_same_model(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "train", out / "chosen.yaml", "--out", tmp_path / "again") == 0
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (out / "chosen" / "predictions.csv").read_bytes()
    written = yaml.safe_load((out / "chosen.yaml").read_text())
    assert not Path(written["data"]["manifest"]).is_absolute()
    assert written["train"] == {"epochs": 2, "batch_size": 4, "lr": 1e-2, "mixup_alpha": 0.0, "device": "cpu"}


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_a_manifest_may_be_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chosen run lies less deep than the finalist that it is a copy of."""
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, manifest="data/manifest.csv"))
    found = budget(config, ["sft"], params=10**6, trials=1, epochs=1, seeds=[1], finalists=1, out="search", jobs=1)
    assert RunFolder(found.chosen).read(Config).data.manifest == "data/manifest.csv"
    assert RunFolder(found.chosen).tested


@pytest.mark.slow
def test_a_search_that_ended_trains_nothing_again(made: Made, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ("trials.csv", "front.csv", "front.md", "chosen.yaml", "chosen/result.json")
    before = [(out / name).read_text() for name in files]

    def fit(*_: object) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr("sparsefuse.training.epochs.fit", fit)
    made.search(out)
    assert [(out / name).read_text() for name in files] == before


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_a_killed_search_repeats_no_finished_run_and_ends_the_same(
    made: Made, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of a round, among the finalists, and before the test."""
    from sparsefuse.training import train

    finished: list[str] = []
    real = train.write_result

    def killed_after(number: int):
        def write(folder: RunFolder, *args, **kwargs) -> None:
            real(folder, *args, **kwargs)
            finished.append(f"{folder.path.parent.name}/{folder.path.name}")
            if len(finished) == number:
                raise Killed

        return write

    total = len(list(out.rglob("result.json")))
    for number in (2, total - 3, total - 1):
        monkeypatch.setattr(train, "write_result", killed_after(number))
        with pytest.raises(Killed):
            made.search(tmp_path / "budget")
        assert len(finished) == number
    monkeypatch.setattr(train, "write_result", killed_after(0))
    made.search(tmp_path / "budget")
    assert len(finished) == len(set(finished)) == total
    for name in ("trials.csv", "front.csv", "front.md", "chosen/predictions.csv", "candidates.jsonl"):
        assert (tmp_path / "budget" / name).read_text() == (out / name).read_text(), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"trials": 7}, r"was started with budget\.trials=6, not 7"),
        ({"limits": BudgetLimits(gmacs=1.0)}, r"was started with budget\.limits\.gmacs=2e-05, not 1\.0"),
        ({"epochs": 1}, r"was started with budget\.epochs=2, not 1"),
    ],
)
def test_another_search_in_the_same_folder_is_an_error(made: Made, out: Path, changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made.search(out, **changed)


@pytest.mark.slow
def test_other_clips_in_the_same_folder_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path)
    monkeypatch.setattr("sparsefuse.budget.search.Trials.run", lambda *_: [])
    with pytest.raises(ValueError, match="none of 0 trials finished"):
        made.search(tmp_path / "out")
    tiny.edit(tmp_path / "data" / "manifest.csv", train0={"label": "b"})
    with pytest.raises(ValueError, match=r"started with other clips \(train 9 clips with other ids or labels\)"):
        made.search(tmp_path / "out")


@pytest.mark.slow
def test_other_contents_in_the_same_folder_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, out = Made(tmp_path), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("sparsefuse.budget.search.Trials.run", lambda *_: [])
        for _ in range(2):
            with pytest.raises(ValueError, match="none of 0 trials finished"):
                made.search(out)
    tiny.write_set(tmp_path / "data", seed=1)
    with pytest.raises(ValueError, match=r"out was started with other contents of these clips: .* give another folder"):
        made.search(out)


@pytest.mark.slow
def test_a_trial_that_ended_with_other_contents_is_an_error(tmp_path: Path) -> None:
    """As one of a search that an older version began, which noted no contents."""
    made, out = Made(tmp_path), tmp_path / "out"
    made.search(out, methods=["sft"], trials=1, seeds=[1])
    tiny.write_set(tmp_path / "data", seed=1)
    noted = json.loads((out / "search.json").read_text())
    del noted["contents"]
    (out / "search.json").write_text(json.dumps(noted))
    with pytest.raises(ValueError, match=r"trials/000 was started with other contents of these clips"):
        made.search(out, methods=["sft"], trials=1, seeds=[1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"limits": BudgetLimits()}, "no budget given; expected at least one of --gmacs"),
        ({"limits": BudgetLimits(gmacs=1e-12)}, "the budget is below the cheapest model that was found: sft needs"),
        ({"methods": ["sft", "slf"]}, "unknown method 'slf'; did you mean 'sft'"),
        ({"methods": ["sft", "sft"]}, "methods: 'sft' occurs twice"),
        ({"seeds": [1, 1]}, "seeds: '1' occurs twice"),
        ({"seeds": []}, "the number of --seeds is 0; expected 1 or more"),
        ({"trials": 0}, "--trials is 0; expected 1 or more"),
        ({"epochs": -1}, "train.epochs is -1; expected 1 or more"),
    ],
)
def test_what_no_search_could_follow_is_an_error_before_anything_is_trained(
    made: Made, tmp_path: Path, changed: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        made.search(tmp_path / "out", **changed)
    assert not list(tmp_path.rglob("metrics.jsonl"))


@pytest.mark.parametrize(
    ("seed", "test_groups", "seeds", "told"),
    [(0, [], (1, 2, 3), ""), (1, [], (1, 2, 3), "seed 1 "), (5, ["a"], (0, 1), "seed 0 "), (5, [], (0, 1), "")],
)
def test_a_seed_that_the_trials_had_is_told(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    seed: int,
    test_groups: list[str],
    seeds: tuple[int, ...],
    told: str,
) -> None:
    """Where test groups are fixed, seed 0 validates on the trials' own clips."""
    split = Split(by="group", test_groups=test_groups)
    config = tiny.with_data(tiny.config(tmp_path / "none.csv"), split=split)
    with pytest.raises(FileNotFoundError):
        budget(config, gmacs=1.0, seeds=seeds, seed=seed, out=tmp_path / "out")
    assert ("of the finalists" in caplog.text) == bool(told)
    assert told in caplog.text


def with_split(config: Config, **split) -> Config:
    return tiny.with_data(config, split=Split(**split))


def test_a_search_needs_a_validation_split(made: Made, tmp_path: Path) -> None:
    config = with_split(made.config, by="stratified", fractions=(0.7, 0.0, 0.3))
    with pytest.raises(ValueError, match="the validation split is empty"):
        budget(config, gmacs=LIMITS.gmacs, out=tmp_path)


def in_groups(made: Made, count: int, **split) -> Config:
    """The clips in so many groups, instead of given splits."""
    manifest = Path(made.config.data.manifest)
    header, *rows = manifest.read_text().splitlines()
    grouped = [f"{row.rsplit(',', 1)[0]},g{i % count}" for i, row in enumerate(rows)]
    manifest.write_text("\n".join([header.replace("split", "group"), *grouped]) + "\n")
    return with_split(made.config, by="group", valid_by="stratified", **split)


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_a_chosen_fold_stays_in_the_configuration_and_the_others_out_of_the_search(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.config = in_groups(made, 3, folds=[["g0"], ["g1"]], test_groups=["g1"])
    found = made.search(tmp_path / "out", methods=["sft"], trials=1, seeds=[3, 1], epochs=1)
    runs = sorted((tmp_path / "out" / "finalists").iterdir())
    assert len(runs) == 2
    configs = [json.loads((run / "config.json").read_text()) for run in runs]
    assert [(c["seed"], c["data"]["split"]["seed"]) for c in configs] == [(1, 1), (3, 3)]  # other clips to validate
    text = found.yaml.read_text()
    assert "the clips that test the others were used" in text
    split = yaml.safe_load(text)["data"]["split"]
    assert (split["folds"], split["test_groups"], split["seed"]) == ([["g0"], ["g1"]], ["g1"], 3)
    assert len(tiny.epochs(tmp_path / "out" / "trials" / "000")) == 1
    assert len(tiny.epochs(found.chosen)) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_over_folds_the_mean_of_their_validation_clips_is_searched_and_the_end_tests_each(tmp_path: Path) -> None:
    made, out = Made(tmp_path), tmp_path / "out"
    made.config = in_groups(made, 3, folds=[["g0"], ["g1"]], fractions=(0.6, 0.4, 0.0))
    found = made.search(out, methods=["sft"], trials=2, seeds=[1, 2], finalists=2)
    for row in table(out / "trials.csv"):
        scores = [result_of(out / "trials" / f"{row['trial']}-fold{fold}")["valid"]["top1"] for fold in (0, 1)]
        assert float(row["valid Top-1 %"]) == pytest.approx(50 * sum(scores), abs=0.06)
    for row in table(out / "finalists.csv"):
        runs = {(s, f): out / "finalists" / f"sft-{row['trial']}-fold{f}-seed{s}" for s in (1, 2) for f in (0, 1)}
        found_scores = {place: result_of(run)["valid"]["top1"] for place, run in runs.items()}
        means = [(found_scores[seed, 0] + found_scores[seed, 1]) / 2 for seed in (1, 2)]
        shown = f"{100 * sum(means) / 2:.1f} ± {100 * abs(means[0] - means[1]) / 2**0.5:.1f}"
        assert (row["n"], row["valid Top-1 %"]) == ("2", shown)
    tested = [path.parent for path in sorted(out.rglob("result.json")) if result_of(path.parent)["test"]]
    assert tested == [found.chosen / "fold0", found.chosen / "fold1"]
    assert [result_of(run)["fold"] for run in tested] == [0, 1]
    assert "Searched over folds" in found.yaml.read_text()
    assert yaml.safe_load(found.yaml.read_text())["data"]["split"]["folds"] == [["g0"], ["g1"]]
    assert found.page.is_file()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    again = made.search(out, methods=["sft"], trials=2, seeds=[1, 2], finalists=2, refit=True)
    assert again.refit == out / "refit"
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert {path: after[path] for path in before} == before, "nothing is trained again"
    whole = result_of(out / "refit")
    assert whole["splits"] == {"train": 17, "valid": 0, "test": 0}, "all people train"
    best = json.loads((out / "chosen.json").read_text())["trial"]
    epochs = [result_of(run)["best_epoch"] for run in (out / "finalists").glob(f"sft-{best:03d}-fold?-seed?")]
    assert len(epochs) == 4
    assert whole["epochs"] == whole["best_epoch"] == round(sum(epochs) / 4)
    assert "Refit: trained once more" in again.page.read_text()


def finalist(number: int, gmacs: float = 1e-5) -> Finalist:
    options = {"keep": 2, "dim": 10, "num_heads": 2, "fusion_depth": 1}
    candidate = Candidate("sft", options, {"gmacs": gmacs, "parameters": 100})
    return Finalist(Trial(number, candidate, "finished", 0.5, ()), [0.5])


def test_a_finalist_that_measures_over_the_budget_gives_way_to_the_next(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    times = iter([6.0, 4.0])
    monkeypatch.setattr(finals, "measure", lambda *_: Measured(1.0, next(times), 0, 0, 0, 0, 0, 8))
    ends = Finals(made.config, BudgetLimits(latency_ms=5.0), Goal("top1"), [1], tmp_path, Path())
    clips = load_clips(made.config.data, Path())
    assert ends.choose([finalist(3), finalist(4)], clips).trial.number == 4
    assert "sft 003 measures 6 of 5 ms now, over the budget; trying the next best" in caplog.text
    assert json.loads((tmp_path / "chosen.json").read_text())["cost"]["latency_ms"] == 4.0
    assert ends.choose([finalist(3), finalist(4)], clips).trial.number == 4, "decided once"


def test_no_finalist_within_the_budget_is_an_error(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finals, "measure", lambda *_: Measured(1.0, 6.0, 0, 0, 0, 0, 0, 8))
    ends = Finals(made.config, BudgetLimits(latency_ms=5.0), Goal("top1"), [1], tmp_path, Path())
    with pytest.raises(
        ValueError, match="measured again, no finalist is within the budget: sft 003 measures 6 of 5 ms"
    ):
        ends.choose([finalist(3)], load_clips(made.config.data, Path()))


def test_a_latency_under_a_limit_is_not_judged_on_a_busy_machine(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = Measured(1.0, None, None, None, None, 0.1, 0.1, 8, doubt="other programs kept 1.6 of 2 cores busy")
    monkeypatch.setattr(finals, "measure", lambda *_: busy)
    clips = load_clips(made.config.data, Path())
    ends = Finals(made.config, BudgetLimits(latency_ms=5.0), Goal("top1"), [1], tmp_path, Path())
    with pytest.raises(ValueError, match=r"no latency can be measured: other programs kept 1\.6 of 2 cores busy"):
        ends.choose([finalist(3)], clips)
    ends = ends._replace(limits=BudgetLimits(memory_mb=5.0))
    ends.choose([finalist(3)], clips)
    record = json.loads((tmp_path / "chosen.json").read_text())
    assert "latency_ms" not in record["cost"]
    assert record["doubt"] == "other programs kept 1.6 of 2 cores busy"


@pytest.mark.slow
def test_from_the_command_line(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tiny.write_yaml(tmp_path / "c.yaml", made.config)
    arguments = [
        "budget",
        file,
        "--trials",
        "2",
        "--seeds",
        "3",
        "--epochs",
        "1",
        "--jobs",
        "1",
        "--out",
        tmp_path / "o",
    ]
    assert call(monkeypatch, *arguments, "--params", "3000", "--memory-mb", "1") == 0
    shown = capsys.readouterr().out
    assert "Pareto front" in shown
    assert str(tmp_path / "o" / "chosen.yaml") in shown
    cost = result_of(tmp_path / "o" / "chosen")["cost"]
    assert cost["parameters"] <= 3000
    assert cost["memory_mb"] <= 1
    assert str(call(monkeypatch, "budget", file)).startswith("error: no budget given")


@pytest.mark.slow
def test_auto_means_all_methods_but_unimodal(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}
    monkeypatch.setattr(
        "sparsefuse.budget.search._check",
        lambda config, limits, methods, *_, **__: given.update(methods=methods) or 1 / 0,
    )
    file = tiny.write_yaml(tmp_path / "c.yaml", dataclasses.replace(made.config, method="auto"))
    with pytest.raises(ZeroDivisionError):
        call(monkeypatch, "budget", file, "--gmacs", "1")
    assert given["methods"] == [name for name in methods() if name != "unimodal"]
    with pytest.raises(ZeroDivisionError):
        call(monkeypatch, "budget", file, "--gmacs", "1", "--methods", "sft,late")
    assert given["methods"] == ["sft", "late"]


@pytest.mark.slow
def test_a_report_can_be_written_of_a_search(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    from sparsefuse.report.page import write_report

    with caplog.at_level(logging.ERROR):
        assert write_report(out / "chosen").exists()


@pytest.mark.slow
def test_a_device_profile_takes_the_front_and_the_page_shows_it(out: Path, tmp_path: Path) -> None:
    search = shutil.copytree(out, tmp_path / "search")
    front = [row["trial"] for row in csv.DictReader((search / "front.csv").read_text().splitlines())]
    assert members(search) == [*(search / "trials" / trial for trial in front), search / "chosen"]
    assert all((run / "model.safetensors").is_file() for run in members(search))
    assert members(search / "chosen") == [search / "chosen"]
    other = next(run for run in sorted((search / "trials").iterdir()) if run.name not in front)
    for run, score in (
        (members(search)[0], "of the front"),
        (search / "chosen", "of the chosen"),
        (other, "of another"),
    ):
        write_table(run / "export" / "device.csv", [{
            "model": run.name, "precision": "int8", "runtime": "onnxruntime", "size_kb": "305.2", "gmacs": "0.01",
            "latency_ms": "2", "spread_ms": "0.1", "memory_mb": "3", "score": score, "note": "",
        }])  # fmt: skip
    page = write_page(search).read_text()
    assert page.count("<td>of the front</td>") == page.count("<td>of the chosen</td>") == 1
    assert "of another" not in page
    (search / "front.csv").unlink()
    with pytest.raises(ValueError, match="has no front yet; run its `sparsefuse budget` command again"):
        members(search)
