"""One call from files to a model, and the commands it ends with."""

import re
import shlex
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import sparsefuse
import tiny
from command import call
from films import write_films
from sparsefuse.config import Split
from sparsefuse.data.clips import load_clips
from sparsefuse.experiments import candidates
from sparsefuse.experiments import fit as module
from sparsefuse.files.rows import read_table, write_table
from sparsefuse.runs import next_steps
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Choice, ModelFacts, Result

pytestmark = pytest.mark.usefixtures("made_up_costs")


def stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def walks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class folders of sensor readings, ten rows each, with a clock; the current folder is theirs."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for label, mean in {"walk": -2, "run": 2}.items():
        (tmp_path / "walks" / label).mkdir(parents=True)
        for i in range(8):
            lines = [f"{t},{x:.3f},{y:.3f}" for t, (x, y) in enumerate(random.normal(mean, 1, (10, 2)))]
            (tmp_path / "walks" / label / f"{i}.csv").write_text("\n".join(["timestamp,x,y", *lines]) + "\n")
    return tmp_path / "walks"


@pytest.mark.slow
def test_it_says_which_epoch_was_kept_and_names_files_as_the_user_does(
    walks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (walks / "run" / "8.csv").write_text("timestamp,x,y\n0,1,nan\n")
    with caplog.at_level("INFO"):
        out = sparsefuse.fit("walks", epochs=2, out="runs/w", jobs=1)
    best = RunFolder(out).read(Result).best_epoch
    assert best
    assert f"kept: epoch {best} of 2; chosen by: loss of the validation split" in caplog.messages
    (said,) = (message for message in caplog.messages if message.startswith("error: unreadable"))
    assert said.startswith("error: unreadable: sample run/8: walks/run/8.csv: "), said
    assert said.endswith("or delete the file")


@pytest.mark.slow
def test_a_damaged_film_is_named_by_a_path_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_films(tmp_path)
    broken = Path("films/low/broken.mp4")
    broken.write_bytes(Path("films/low/0.mp4").read_bytes()[:2000])
    monkeypatch.setattr(module, "extract", stopped)
    with pytest.raises(KeyboardInterrupt):
        sparsefuse.fit("films", out="mine", features="raw", jobs=1)
    (said,) = (message for message in caplog.messages if message.startswith("error: unreadable"))
    assert said.startswith(f"error: unreadable: sample low/broken: {broken}: "), said


@pytest.mark.slow
def test_a_run_of_a_folder_keeps_its_clips_and_all_that_was_made_of_them(walks: Path) -> None:
    for i in range(2):  # and another run than of this folder is not touched either
        sparsefuse.fit("walks", epochs=1, out=f"runs/{i}", jobs=1)
    made = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    (walks / "run" / "0.csv").rename(walks / "run" / "new.csv")
    (walks / "run" / "1.csv").rename(walks / "walk" / "1b.csv")
    with pytest.raises(
        ValueError, match=r"runs/0 was started with other clips: 2 new, such as run/new; 2 gone, such as run/0"
    ):
        sparsefuse.fit("walks", epochs=1, out="runs/0", jobs=1)
    Path("runs/1/clips/manifest.csv").rename(walks.parent / "elsewhere.csv")
    with pytest.raises(ValueError, match=r"runs/1 has a run that `fit` of a folder did not make"):
        sparsefuse.fit("walks", epochs=1, out="runs/1", jobs=1)
    Path("elsewhere.csv").rename("runs/1/clips/manifest.csv")
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == made


@pytest.mark.slow
def test_a_run_of_a_manifest_keeps_its_clips(tmp_path: Path, walks: Path) -> None:
    sparsefuse.fit("walks", epochs=1, out="first", jobs=1)
    manifest = Path("first/clips/manifest.csv")
    Path("first/clips/mine.csv").write_text(manifest.read_text())
    sparsefuse.fit("first/clips/mine.csv", epochs=1, out="second", jobs=1)
    made = Path("second/features/manifest.csv").read_bytes()
    lines = manifest.read_text().splitlines()
    Path("first/clips/mine.csv").write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match=r"second was started with other clips: 1 gone, such as run/0\. A run keeps"):
        sparsefuse.fit("first/clips/mine.csv", epochs=1, out="second", jobs=1)
    assert Path("second/features/manifest.csv").read_bytes() == made


@pytest.mark.slow
def test_a_folder_of_sensor_files_becomes_a_model_and_commands_that_work(
    walks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a rerun continues where the last one stopped."""
    monkeypatch.setattr(next_steps, "find_spec", lambda _: None)  # as if the extras serve and export were not there
    arguments = ("fit", "walks", "--epochs", 4, "--out", "runs/w", "--jobs", 1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "train", stopped)
        assert "run it again" in str(call(monkeypatch, *arguments))
    made = [path.stat().st_mtime_ns for path in Path("runs/w/features/series").glob("*.safetensors")]
    capsys.readouterr()
    assert call(monkeypatch, *arguments) == 0
    run, *commands = capsys.readouterr().out.splitlines()
    assert [path.stat().st_mtime_ns for path in Path("runs/w/features/series").glob("*.safetensors")] == made != []
    assert run == "runs/w"
    assert [command.split()[:2] for command in commands] == [["sparsefuse", v] for v in ("predict", "explain", "eval")]
    facts = RunFolder(Path(run)).read(ModelFacts)
    assert facts.features == {"series": 2}, "the column timestamp is no reading"
    assert RunFolder(Path(run)).read(Result).test["top1"] == 1
    for page in ("check.html", "report.html"):
        assert Path(run, page).read_text().startswith("<!doctype html>")
    for command in commands:
        assert call(monkeypatch, *shlex.split(command)[1:]) == 0, command
    assert "walks/run/0.csv: run" in capsys.readouterr().out
    assert call(monkeypatch, "predict", run, "walks/walk") == 0
    assert len(capsys.readouterr().out.splitlines()) == 8
    ended = RunFolder(Path(run)).checkpoint.stat().st_mtime_ns
    monkeypatch.setattr(module, "write_report", lambda _: "")
    monkeypatch.setattr(module, "default_features", stopped)  # whatever was installed since
    assert sparsefuse.fit("walks", epochs=4, out=run, jobs=1) == Path(run)
    assert RunFolder(Path(run)).checkpoint.stat().st_mtime_ns == ended
    with monkeypatch.context() as patch:
        patch.setattr(module, "check", stopped)  # nothing is read before it complains
        with pytest.raises(ValueError, match=r"was started with train\.epochs=4, not 2"):
            sparsefuse.fit("walks", epochs=2, out=run, jobs=1)
        with pytest.raises(ValueError, match=r"was started with method='sft', not 'late'"):
            sparsefuse.fit("walks", method="late", epochs=4, out=run, jobs=1)
    for path in (walks / "run").iterdir():  # of which some train or validate
        path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    assert "runs/w was started with other contents of these clips" in str(call(monkeypatch, *arguments))
    (walks / "run" / "0.csv").unlink()  # other clips are another model, not the old one in silence
    assert "runs/w was started with other clips" in str(call(monkeypatch, *arguments))


@pytest.mark.slow
def test_a_column_of_people_keeps_each_in_one_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And is no label, no stream; one called person does so without the option."""
    manifest = tiny.write_set(tmp_path)
    rows = [row | {"site": f"the site {i // 3}"} for i, row in enumerate(read_table(manifest).rows)]
    rows = [{name: cell for name, cell in row.items() if name != "split"} for row in rows]
    write_table(manifest, rows)
    configs = []
    caplog.set_level("INFO")
    monkeypatch.setattr(module, "train", lambda config, *_, **__: configs.append(config) or stopped())
    with pytest.raises(KeyboardInterrupt):
        sparsefuse.fit(manifest, group="site", out=tmp_path / "run", jobs=1)
    (config,) = configs
    assert (config.data.group, config.data.label, config.features) == ("site", "label", {})
    splits = [{row.group for row in part.rows} for part in load_clips(config.data, Path()).splits.values()]
    assert len(set().union(*splits)) == sum(map(len, splits)) == len({row["site"] for row in rows})
    write_table(manifest, [{"person" if name == "site" else name: c for name, c in row.items()} for row in rows])
    with pytest.raises(KeyboardInterrupt):
        sparsefuse.fit(manifest, out=tmp_path / "other", jobs=1)
    assert (configs[1].data.group, configs[1].data.label) == ("person", "label")
    assert "clips of one person stay in one split; --group NAME keeps others together" in caplog.text
    worth = r"\d+ clips? for valid, where one is \d+ points, and \d+ clips? for test, where one is \d+ points, so"
    assert re.search(worth, caplog.text)


@pytest.mark.slow
def test_auto_keeps_what_validates_best(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = tiny.write_set(tmp_path)
    with caplog.at_level("INFO"), mock.patch.object(candidates, "METHODS", ("unimodal", "late", "sft")):
        run = sparsefuse.fit(manifest, method="auto", out=tmp_path / "auto", epochs=2, jobs=1)
    results = {RunFolder(path): RunFolder(path).read(Result) for path in [run, *(run / "others").iterdir()]}
    methods = ("unimodal (rgb)", "unimodal (sound)", "sft", "late")
    names = {*methods, *(f"{method}, small" for method in methods)}
    assert {result.name for result in results.values()} == names
    choice = RunFolder(run).read(Choice)
    chosen = results[RunFolder(run)]
    assert choice.candidates[0].name == chosen.name
    assert {one.name: (one.epochs, one.score) for one in choice.candidates} == {
        result.name: (result.epochs, result.valid["top1"]) for result in results.values()
    }
    assert sorted(result.epochs for result in results.values()) == [1, 1, 1, 1, 2, 2, 2, 2]
    assert chosen.epochs == 2
    assert [folder.path for folder in results if folder.tested] == [run], "one model alone sees the test split"
    assert f"kept {chosen.name} after 2 epochs, by Top-1 on 4 validation clips" in caplog.text
    assert "<h2>Chosen among</h2>" in (run / "report.html").read_text()
    with pytest.raises(ValueError, match=r"was started with train\.epochs=2, not 3"):
        sparsefuse.fit(manifest, method="auto", out=tmp_path / "auto", epochs=3, jobs=1)
    again = sparsefuse.fit(manifest, method="auto", out=tmp_path / "auto", epochs=2, jobs=1)
    assert RunFolder(again).read(Result) == chosen


@pytest.mark.slow
def test_of_one_modality_auto_tries_two_methods(walks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is over the time is left out, and named: a minute was used by extraction."""
    monkeypatch.setattr(candidates, "ALONE", ("unimodal", "sft"))
    Path("runs/fit").mkdir(parents=True)
    Path("runs/fit/clock.json").write_text('{"seconds": 60.0}')
    run = sparsefuse.fit("walks", method="auto", epochs=2, jobs=1, time_limit="1m")
    first, *others = RunFolder(run).read(Choice).candidates
    assert [(first.epochs, ""), *((0, "no time was left") for _ in others)] == [
        (one.epochs, one.left_out) for one in (first, *others)
    ]
    methods = ("unimodal (series)", "sft")
    assert {first.name, *(one.name for one in others)} == {*methods, *(f"{method}, small" for method in methods)}
    assert RunFolder(run).read(Result).test["top1"] >= 0.5


@pytest.mark.slow
def test_a_baseline_that_is_as_good_is_the_model(
    walks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is fitted at once, cheap, and tested and used as any."""
    pytest.importorskip("sklearn")
    monkeypatch.setattr(candidates, "ALONE", ("baseline", "sft"))
    run = sparsefuse.fit("walks", method="auto", epochs=2, jobs=1)
    choice, result = RunFolder(run).read(Choice), RunFolder(run).read(Result)
    assert [one.name for one in choice.candidates][:1] == [result.name] == ["baseline"]
    assert (choice.candidates[0].score, choice.candidates[0].gmacs) == (1, result.cost.gmacs)
    assert result.test["top1"] == 1
    assert call(monkeypatch, "predict", run, "walks/walk") == 0
    assert len(capsys.readouterr().out.splitlines()) == 8
    with pytest.raises(ValueError, match="costs"):
        sparsefuse.fit("walks", method="auto", epochs=2, jobs=1, gmacs=1e-12, out="runs/less")


@pytest.mark.slow
def test_a_clip_in_two_splits_is_told_by_the_check_and_beside_the_scores_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = tiny.write_set(tmp_path)
    rows = read_table(manifest).rows
    first = next(row for row in rows if row["split"] == "train" and row["sound"])
    write_table(manifest, [row | {"sound": first["sound"]} if row["split"] == "test" else row for row in rows])
    run = sparsefuse.fit(manifest, method="late", out=tmp_path / "run", epochs=1, jobs=1)
    checked, scored = [message for message in caplog.messages if "leak-" in message]
    assert checked.startswith("error: leak-file: sound")
    assert scored.startswith(f"{run}: scores may be too good: leak-file: sound")


def test_a_budget_is_for_auto(walks: Path) -> None:
    with pytest.raises(ValueError, match="gmacs and time_limit choose among methods; they need method auto, not sft"):
        sparsefuse.fit("walks", time_limit="1m")


@pytest.mark.slow
def test_a_chosen_run_with_another_seed_is_an_error_before_any_work(
    walks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparsefuse.fit("walks", method="baseline", out="out")
    monkeypatch.setattr(module, "_checked", stopped)
    for method in ("baseline", "auto"):
        with pytest.raises(ValueError, match=r"out was started with .*seed"):
            sparsefuse.fit("walks", method=method, seed=1, out="out")
        with pytest.raises(KeyboardInterrupt):  # what is the same goes on
            sparsefuse.fit("walks", method=method, out="out")


@pytest.mark.slow
def test_a_search_that_is_asked_for_something_else_is_an_error_before_any_work(
    walks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "ALONE", ("unimodal",))
    monkeypatch.setattr("sparsefuse.experiments.auto.Halving.run", stopped)
    asked = {"method": "auto", "out": "out", "jobs": 1, "epochs": 2, "gmacs": 1.0}
    with pytest.raises(ValueError, match=r"the cheapest method, .*, costs"):
        sparsefuse.fit("walks", **{**asked, "gmacs": 1e-12})
    for _ in range(2):  # what is the same goes on, what failed is asked anew
        with pytest.raises(KeyboardInterrupt):
            sparsefuse.fit("walks", **asked)
    monkeypatch.setattr(module, "_checked", lambda *_: pytest.fail("nothing is read"))
    for other, message in {
        ("epochs", 3): r"out was started with train\.epochs=2, not 3",
        ("recipe", "small"): "out was started with the recipe='auto', not 'small'",
        ("gmacs", 1e-12): "out was started with gmacs=1.0, not 1e-12",
        ("gmacs", None): "out was started with gmacs=1.0, not None",
        ("gmacs", 0): r"gmacs is 0; expected more than 0: what a clip may cost, in 10\^9 multiply-adds",
        ("gmacs", -1): "gmacs is -1; expected more than 0",
    }.items():
        with pytest.raises(ValueError, match=message):
            sparsefuse.fit("walks", **{**asked, other[0]: other[1]})


@pytest.mark.slow
def test_features_may_be_said_and_few_clips_train_longer(walks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def noted(config: object, out: Path, **_: object) -> None:
        asked.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", noted)
    for few in (500, 16):
        monkeypatch.setattr(module, "FEW", few)
        spec = {"extractor": "series", "source": "series", "time": "timestamp", "rate": 2}
        with pytest.raises(KeyboardInterrupt):
            sparsefuse.fit("walks", features={"imu": spec}, jobs=1)
    assert [(c.train.epochs, c.train.batch_size) for c in asked] == [(40, 8), (20, 24)]
    assert "imu" in read_table(asked[0].data.manifest).columns


@pytest.mark.slow
def test_a_recipe_sets_what_is_not_said(
    walks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def noted(config: object, out: Path, **_: object) -> None:
        asked.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", noted)
    for epochs in ([], ["--epochs", 7]):
        assert "stopped" in str(call(monkeypatch, "fit", "walks", "--recipe", "small", "--jobs", 1, *epochs))
    assert [(c.recipe, c.train.epochs, c.train.batch_size) for c in asked] == [("small", 60, 8), ("small", 7, 8)]
    assert (asked[0].data.noise, asked[0].data.max_length, asked[0].train.ema) == (0.2, 0, 0.98)
    assert call(monkeypatch, "fit", "walks", "--recipe", "smal") == 2
    assert "unknown --recipe 'smal'; did you mean 'small'?" in capsys.readouterr().err
    with pytest.raises(ValueError, match="recipe"):
        sparsefuse.fit("walks", recipe="smal", jobs=1)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_refit_trains_on_the_clips_that_validated_too(tmp_path: Path) -> None:
    """And a rerun gives the same folder."""
    manifest = tiny.write_set(tmp_path)
    run = sparsefuse.fit(manifest, refit=True, out=tmp_path / "run", epochs=2, jobs=1)
    assert run == tmp_path / "run-refit"
    first, last = (RunFolder(path).read(Result) for path in (tmp_path / "run", run))
    assert (first.splits["train"], first.splits["valid"]) == (9, 4)
    assert last.splits["train"] == 13
    assert "<h2>" in (tmp_path / "run" / "report.html").read_text()
    assert last.epochs == max(first.best_epoch, 1)
    assert sparsefuse.fit(manifest, refit=True, out=tmp_path / "run", epochs=2, jobs=1) == run


def test_a_source_without_use_is_an_error_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no two folders with clips"):
        sparsefuse.fit(tmp_path, out=tmp_path / "out")
    manifest = tiny.write_set(tmp_path)
    with pytest.raises(ValueError, match=r"no label column: unknown column 'lable'; did you mean 'label'.*in --label"):
        sparsefuse.fit(manifest, label="lable", out=tmp_path / "out")
    (tmp_path / "films").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no folder or manifest .*flims; did you mean .*films\?$"):
        sparsefuse.fit(tmp_path / "flims", out=tmp_path / "out")
    with pytest.raises(ValueError, match="unknown method 'stf'; did you mean 'sft'"):
        sparsefuse.fit(manifest, method="stf", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_train_takes_auto_with_the_split_of_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "METHODS", ("late", "concat"))
    path = tiny.write_yaml(tmp_path / "c.yaml", tiny.config(tiny.write_set(tmp_path / "data"), epochs=1))
    command = ("train", path, "--method", "auto", "--out", tmp_path / "run", "--jobs", 1)
    assert call(monkeypatch, *command, "--time-limit", "1h") == 0
    run = RunFolder(tmp_path / "run")
    assert run.tested
    assert run.read(Choice).limit == 3600
    assert "holds a search already" in str(call(monkeypatch, *command))
    ended = run.file(Result).stat().st_mtime_ns
    assert call(monkeypatch, *command, "--resume") == 0
    assert run.file(Result).stat().st_mtime_ns == ended
    assert call(monkeypatch, *command, "--resume", "--refit") == 0
    assert run.file(Result).stat().st_mtime_ns == ended
    whole = RunFolder(tmp_path / "run-refit").read(Result)
    assert (whole.name, whole.splits) == (f"{run.read(Result).name}, refit", {"train": 13, "valid": 0, "test": 4})


@pytest.mark.slow
def test_a_budget_of_train_is_for_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny.write_yaml(tmp_path / "c.yaml", tiny.config(tiny.write_set(tmp_path / "data")))
    said = call(monkeypatch, "train", path, "--out", tmp_path / "run", "--time-limit", "1m")
    assert "they need --method auto, not sft" in str(said)
    assert "they need --method auto, not sft" in str(
        call(monkeypatch, "train", path, "--out", tmp_path / "r", "--refit")
    )
    folds = tiny.write_yaml(tmp_path / "k.yaml", tiny.with_data(tiny.config(tmp_path / "m.csv"), split=Split(k=3)))
    assert "choose it with --data.split.fold 0" in str(call(monkeypatch, "train", folds, "--method", "auto"))


@pytest.mark.slow
def test_a_single_option_changes_what_would_be_taken(walks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the modality must be one that there is."""
    configs = []
    monkeypatch.setattr(module, "train", lambda config, *_, **__: configs.append(config) or stopped())
    with pytest.raises(KeyboardInterrupt):
        sparsefuse.fit("walks", features={"series": {"time": "timestamp", "unit": 1e-3}}, jobs=1)
    read = configs[0].features["series"]
    assert (read["extractor"], read["source"], read["time"], read["unit"]) == ("series", "series", "timestamp", 1e-3)
    with pytest.raises(ValueError, match="--features: unknown modality 'serie'; did you mean 'series'"):
        sparsefuse.fit("walks", features={"serie": {"time": "timestamp"}}, out="other", jobs=1)
