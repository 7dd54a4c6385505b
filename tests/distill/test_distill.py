"""`distill`: the student's settings are the teacher's, its cost is within the budget, and it says who taught it."""

import json
import shutil
from pathlib import Path

import pytest

import tiny
from command import call
from sparsefuse.budget.search import budget
from sparsefuse.cli.app import WITH_CONFIG
from sparsefuse.cli.argv import spelled_out
from sparsefuse.config import Config
from sparsefuse.distill.settings import student_config
from sparsefuse.distill.student import distill, within
from sparsefuse.report.page import write_report
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.runs.summary import taught
from sparsefuse.training.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher `concat`, and its data."""
    folder = tmp_path_factory.mktemp("distill")
    config = tiny.config(tiny.write_set(folder / "data"), "concat", lr=0.01)
    train(tiny.with_data(config, max_length=3), folder / "concat", measured=False, shown=False)
    return folder


def cost(run: Path) -> float:
    return RunFolder(run).read(Result).cost.gmacs


@pytest.mark.slow
def test_a_student_is_within_the_budget(folder: Path, tmp_path: Path) -> None:
    whole = distill([folder / "concat"], tmp_path / "whole", measured=False)
    small = distill([folder / "concat"], tmp_path / "small", gmacs=cost(whole) / 2, measured=False)
    assert 0 < cost(small) <= cost(whole) / 2
    config = RunFolder(small).read(Config)
    assert (config.method, config.data.max_length, config.train.lr) == ("sft", 3, 0.01)
    assert [Path(run).resolve() for run in config.distill.teachers] == [(folder / "concat").resolve()]
    assert RunFolder(small).read(Result).name == "sft distilled"
    again = distill([folder / "concat"], tmp_path / "small", gmacs=cost(whole) / 2, resume=True, measured=False)
    assert again == small


def test_the_student_of_a_baseline_is_trained(folder: Path, tmp_path: Path) -> None:
    """The baseline's own configuration has one epoch, as nothing of it is trained."""
    config = RunFolder(folder / "concat").read(Config)
    taught = train(config, tmp_path / "run", method="baseline", recipe="small", measured=False, shown=False)
    usual = Config.load(recipe="small").train
    student = student_config(taught)
    assert (student.method, student.recipe) == ("sft", "small")
    assert student.train.epochs == usual.epochs > 1
    assert student.train.warmup_epochs == usual.warmup_epochs
    assert (student.train.batch_size, student.train.lr) == (config.train.batch_size, 0.01)


def test_options_within_the_budget_stay(folder: Path) -> None:
    config = RunFolder(folder / "concat").read(Config)
    assert within(config, 1.0) is config
    with pytest.raises(ValueError, match="the budget is below the cheapest model that was found: concat needs"):
        within(config, 1e-9)
    with pytest.raises(ValueError, match="--gmacs is 0; expected more than 0"):
        within(config, 0.0)


def test_a_student_needs_a_teacher(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no teacher given"):
        distill([], tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="is not a run folder"):
        distill([folder], tmp_path / "run")


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_from_the_command_line(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """Flags change the teacher's settings; what they do not name stays."""
    out, flags = tmp_path / "run", ["--train.epochs", 1, "--options.late.dim", 6, "--distill.weight", 0.7]
    arguments = [folder / "concat", folder / "concat", "--method", "late", "--out", out, *flags]
    assert call(monkeypatch, "distill", *arguments) == 0
    config = RunFolder(out).read(Config)
    assert (config.method, config.train.epochs, config.train.lr, config.distill.weight) == ("late", 1, 0.01, 0.7)
    assert config.options["late"] == {"dim": 6}
    assert config.options["all"] == tiny.OPTIONS["all"]
    assert len(config.distill.teachers) == 2
    assert taught(RunFolder(out).read(Result)) in capsys.readouterr().out
    arguments += ["--recipe", "small", "--resume"]
    assert "was started with data.modality_dropout=0.0, not 0.15" in str(call(monkeypatch, "distill", *arguments))
    assert "is not a run folder" in str(call(monkeypatch, "distill", folder, "--out", tmp_path / "other"))


@pytest.mark.slow
def test_a_run_says_who_taught_it(folder: Path, tmp_path: Path) -> None:
    run = distill([folder / "concat"], tmp_path / "run", measured=False)
    mine, theirs = RunFolder(run).read(Result), RunFolder(folder / "concat").read(Result)
    assert taught(mine) == (
        f"taught by concat ({100 * theirs.test['top1']:.1f} at {theirs.cost.gmacs:.2g} GMACs): "
        f"{100 * mine.test['top1']:.1f} at {mine.cost.gmacs:.2g} GMACs (Top-1, test)"
    )
    assert taught(theirs) == ""
    assert taught(mine) in write_report(run).read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_every_verb_with_a_configuration_takes_teachers(folder: Path, tmp_path: Path, monkeypatch) -> None:
    """`--distill RUN,RUN` is `distill.teachers`: a search with it distils every trial."""
    found = spelled_out(["budget", "a.csv", "--distill", "runs/a,runs/b"], WITH_CONFIG)
    assert found[-2:] == ["--distill.teachers", '["runs/a", "runs/b"]']
    manifest = folder / "data/manifest.csv"
    options = [
        "--options",
        json.dumps({"all": tiny.OPTIONS["all"]}),
        "--train.epochs",
        1,
        "--distill",
        folder / "concat",
    ]
    where = ["--methods", "late", "--seeds", 0, "--out", tmp_path / "few", "--jobs", 1]
    assert call(monkeypatch, "compare", manifest, *options, *where) == 0
    teachers = RunFolder(tmp_path / "few/late-seed0").read(Result).teachers
    assert teachers is not None
    assert teachers[0].name == "concat"


@pytest.mark.slow
def test_a_search_distils_every_trial(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "concat/outputs", ignore_errors=True)  # of other tests
    config = RunFolder(folder / "concat").read(Config)
    search = {"gmacs": 1e-4, "trials": 2, "epochs": 1, "seeds": [1], "finalists": 1, "jobs": 1}
    taught_by = {"teachers": [str(folder / "concat")]}
    found = budget(config, out=tmp_path / "search", method="late", distill=taught_by, **search)
    results = [RunFolder(path.parent).read(Result) for path in (tmp_path / "search").rglob("result.json")]
    assert len(results) == 4  # two trials, a finalist, and its copy that was tested
    assert all(result.teachers and result.teachers[0].name == "concat" for result in results)
    assert RunFolder(found.chosen).read(Result).test
    assert len(list((folder / "concat/outputs").iterdir())) == 1
