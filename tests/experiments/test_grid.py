"""A comparison runs every cell once, whatever happens to the others, and never repeats a finished one."""

import csv
import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

import tiny
from command import call
from sparsefuse.config import Config, Split
from sparsefuse.cost import measure as measuring
from sparsefuse.experiments import grid as experiment
from sparsefuse.experiments.grid import grid
from sparsefuse.experiments.measuring import measure_runs, remeasure
from sparsefuse.experiments.variants import Variant, methods_of
from sparsefuse.inference.predictor import load
from sparsefuse.report.table import Table
from sparsefuse.training.train import train

pytestmark = pytest.mark.usefixtures("made_up_costs")
COST = {"memory_mb", "latency_ms", "latency_spread_ms", "batch_ms", "train_ms", "floor_ms", "batch_floor_ms", "batch"}
COST |= {"doubt"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)


def compare(config: Config, *given, **options) -> list[str]:
    """What failed in a comparison, without its tables and page: a second each."""
    with mock.patch.object(
        experiment, "write_tables", lambda folder, place, failed, notes=(): Table("", [], [], failed=failed)
    ):
        return experiment.compare(config, *given, **{"baseline": False, **options}).failed


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def stamps(out: Path) -> dict[str, int]:
    """When each file of each run was written."""
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.glob("*/*")}


def test_a_grid_runs_each_cell_once_and_a_rerun_none(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    assert compare(config, ["concat", "unimodal"], [0, 1], out, root=Path(), jobs=1) == []
    names = ["concat-seed0", "concat-seed1", *(f"unimodal-{m}-seed{s}" for m in ("rgb", "sound") for s in (0, 1))]
    assert sorted(path.name for path in out.iterdir()) == names
    for folder in out.iterdir():
        result = result_of(folder)
        assert folder.name.endswith(f"seed{result['seed']}")
        assert result["cost"].keys() >= COST
    assert result_of(out / "unimodal-rgb-seed0")["name"] == "unimodal (rgb)"
    assert result_of(out / "unimodal-rgb-seed0")["cost"]["lengths"].keys() == {"rgb"}
    costs = [result_of(out / f"concat-seed{seed}")["cost"] for seed in (0, 1)]
    assert costs[0] == costs[1], "one model is measured once"
    before = stamps(out)
    assert compare(config, ["concat", "unimodal"], [0, 1], out, root=Path(), jobs=1) == []
    assert stamps(out) == before


@pytest.mark.slow
def test_untested_runs_are_tested_when_it_is_asked_for_and_not_trained_again(config: Config, tmp_path: Path) -> None:
    choosing, final = tmp_path / "choosing", tmp_path / "final"
    compare(config, ["concat"], [0], choosing, root=Path(), tested=False, jobs=1)
    (run,) = choosing.iterdir()
    assert result_of(run)["test"] == {}
    assert not (run / "predictions.csv").exists()
    trained = (run / "metrics.jsonl").stat().st_mtime_ns
    compare(config, ["concat"], [0], choosing, root=Path(), jobs=1)
    compare(config, ["concat"], [0], final, root=Path(), jobs=1)
    assert (run / "metrics.jsonl").stat().st_mtime_ns == trained
    assert result_of(run)["test"] == result_of(final / run.name)["test"] != {}


@pytest.mark.slow
def test_a_killed_grid_goes_on_and_ends_with_the_same_table(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL as soon as one cell is finished, wherever the others are then; accuracy and counted cost are the same."""
    tiny.write_yaml(
        tmp_path / "config.yaml", dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=4))
    )
    given = ["compare", "config.yaml", "--no-baseline", "--methods", "late,concat,sft", "--seeds", "0,1", "--jobs"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sparsefuse", *given, "2", "--out", "killed"],
        stderr=subprocess.DEVNULL, cwd=tmp_path, env=tiny.environment(),
    )  # fmt: skip
    while not (finished := list((tmp_path / "killed").glob("*/result.json"))):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for done in finished for path in done.parent.glob("m*")}
    assert len(finished) < 6
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *given, "1", "--out", "killed") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert call(monkeypatch, *given, "1", "--out", "whole") == 0
    tables = [
        list(csv.DictReader((tmp_path / out / "compare.csv").read_text().splitlines())) for out in ("killed", "whole")
    ]
    assert len(tables[0]) == 3
    measured = ("memory_mb", "latency_ms", "latency_spread_ms")
    for mine, theirs in zip(*tables, strict=True):
        assert {k: v for k, v in mine.items() if k not in measured} == {
            k: v for k, v in theirs.items() if k not in measured
        }


def test_a_larger_grid_keeps_what_is_finished(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    compare(config, ["late"], [0], out, root=Path(), jobs=1)
    before = stamps(out)
    assert compare(config, ["late", "concat"], [0], out, root=Path(), jobs=1) == []
    assert {name: stamp for name, stamp in stamps(out).items() if name.startswith("late")} == before
    assert (out / "concat-seed0" / "result.json").exists()


def test_missing_costs_are_filled_in_and_nothing_else_changes(config: Config, tmp_path: Path) -> None:
    """Killed between training and measuring."""
    out = tmp_path / "runs"
    compare(config, ["late"], [0], out, root=Path(), jobs=1)
    result = result_of(out / "late-seed0")
    result["cost"] = {name: value for name, value in result["cost"].items() if name not in COST}
    (out / "late-seed0" / "result.json").write_text(json.dumps(result))
    before = stamps(out)
    compare(config, ["late"], [0], out, root=Path(), jobs=1)
    assert {name for name, stamp in stamps(out).items() if before[name] != stamp} == {"late-seed0/result.json"}
    filled = result_of(out / "late-seed0")
    assert filled["cost"].keys() - result["cost"].keys() == COST
    assert filled | {"cost": {}} == result | {"cost": {}}


def test_costs_are_measured_on_the_device_of_the_runs(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = grid(config, methods_of(config, ["late"], Path()), [0], tmp_path / "runs", root=Path())
    compare(config, ["late"], [0], tmp_path / "runs", root=Path(), jobs=1)
    result = result_of(cell.folder)
    result["cost"] = {name: value for name, value in result["cost"].items() if name not in COST}
    (cell.folder / "result.json").write_text(json.dumps(result))
    seen = []

    def measure(model, lengths):
        seen.append(next(model.parameters()).device.type)
        return measuring.Measured(*range(8))

    monkeypatch.setattr(measuring, "measure", measure)
    measure_runs([cell.run], "meta")
    assert seen == ["meta"]


def test_a_time_that_cannot_be_trusted_is_measured_again_when_the_comparison_is(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = measuring.Measured(1.0, None, None, None, None, 1, 1, 8, 1.2, 1.9, "other programs kept 1.9 of 2 cores busy")
    monkeypatch.setattr(measuring, "measure", lambda *_: busy)
    compare(config, ["late"], [0, 1], tmp_path / "runs", root=Path(), jobs=1)
    cost = result_of(tmp_path / "runs" / "late-seed1")["cost"]
    assert (cost.get("latency_ms"), cost["doubt"]) == (None, "other programs kept 1.9 of 2 cores busy")
    monkeypatch.setattr(measuring, "measure", lambda *_: measuring.Measured(*range(8), load=0.1))
    compare(config, ["late"], [0, 1], tmp_path / "runs", root=Path(), jobs=1)
    for seed in (0, 1):
        cost = result_of(tmp_path / "runs" / f"late-seed{seed}")["cost"]
        assert (cost["latency_ms"], cost["doubt"], cost["load"]) == (1, "", 0.1)


@pytest.mark.slow
def test_a_model_has_its_own_costs_beside_others_of_its_name(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two experiments below one folder: both have a run `late`, one of 10 channels and one of 40."""
    for place, dim, seed in (("small", 10, 0), ("small", 10, 1), ("large", 40, 0)):
        wide = dataclasses.replace(config, method="late", options={"late": {"dim": dim}}, seed=seed)
        train(wide, tmp_path / f"runs/{place}/seed{seed}", measured=False, shown=False)
    seen = []

    def measure(model, lengths):
        seen.append(model.embed.dim)
        return measuring.Measured(1.0, float(model.embed.dim), 1, 1, 1, 1, 1, 8)

    monkeypatch.setattr(measuring, "measure", measure)
    remeasure(tmp_path / "runs")
    assert sorted(seen) == [10, 40], "once per model"
    found = {path.parent.name: result_of(path)["cost"]["latency_ms"] for path in tmp_path.glob("runs/*/*")}
    assert found == {"small": 10, "large": 40}


@pytest.mark.slow
def test_cost_remeasure_measures_finished_runs_again_and_writes_their_table(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tiny.write_yaml(tmp_path / "c.yaml", config)
    assert (
        call(monkeypatch, "compare", str(file), "--no-baseline", "--methods", "late", "--seeds", "0,1", "--out", "r")
        == 0
    )
    before = result_of(tmp_path / "r/late-seed0")
    monkeypatch.setattr(measuring, "measure", lambda *_: measuring.Measured(1.0, 777.0, 1, 1, 1, 1, 1, 8))
    assert call(monkeypatch, "cost", "--remeasure", "r") == 0
    assert "777" in capsys.readouterr().out
    after = result_of(tmp_path / "r/late-seed0")
    assert after["cost"].pop("latency_ms") == result_of(tmp_path / "r/late-seed1")["cost"]["latency_ms"] == 777
    assert {**after, "cost": 0} == {**before, "cost": 0}
    assert next(csv.DictReader((tmp_path / "r/compare.csv").read_text().splitlines()))["latency_ms"] == "777.0"
    assert call(monkeypatch, "cost", "--remeasure", "r/late-seed1") == 0
    assert "no finished run in c.yaml" in str(call(monkeypatch, "cost", "--remeasure", "c.yaml"))
    edited = tmp_path / "r/late-seed0/model.json"
    edited.write_text(edited.read_text().replace('"method": "late"', '"method": "mine.py"'))
    assert "needs the code in mine.py; read it, then give --trust-code" in str(
        call(monkeypatch, "cost", "--remeasure", "r")
    )


BROKEN = "def build(features, num_classes, *, lengths=None, seed_of_trouble=0):\n    raise {error}\n"


@pytest.mark.parametrize("error", ["ValueError('broken')", "KeyError('broken')"])
def test_a_cell_that_fails_is_reported_and_the_others_finish(config: Config, tmp_path: Path, error: str) -> None:
    (tmp_path / "mine.py").write_text(BROKEN.format(error=error))
    out = tmp_path / "runs"
    (failed,) = compare(config, [str(tmp_path / "mine.py"), "late"], [0], out, root=Path(), jobs=1)
    assert "mine-seed0" in failed
    assert "broken" in failed
    assert error.split("(")[0] in failed
    assert "latency_ms" in result_of(out / "late-seed0")["cost"]
    assert not (out / "mine-seed0" / "result.json").exists()


def test_a_cell_that_failed_is_tried_again(config: Config, tmp_path: Path) -> None:
    method = tmp_path / "mine.py"
    method.write_text(BROKEN.format(error="ValueError('broken')"))
    out = tmp_path / "runs"
    assert compare(config, [str(method)], [0], out, root=Path(), jobs=1) != []
    method.write_text("from sparsefuse.methods.concat import build\n")
    assert compare(config, [str(method)], [0], out, root=Path(), jobs=1) == []
    assert result_of(out / "mine-seed0")["name"] == "mine"


def test_every_fold_is_the_test_split_once(config: Config, tmp_path: Path) -> None:
    manifest = Path(config.data.manifest)
    lines = manifest.read_text().splitlines()
    groups = ["group", *(f"g{i % 4}" for i in range(len(lines) - 1))]
    rows = [line.rsplit(",", 1)[0] for line in lines]
    manifest.write_text("\n".join(f"{row},{group}" for row, group in zip(rows, groups, strict=True)) + "\n")
    split = Split(by="group", folds=[["g0"], ["g1", "g2"]], fractions=(0.8, 0.2, 0.0), valid_by="stratified")
    out = tmp_path / "runs"
    assert compare(tiny.with_data(config, split=split), ["late"], [3], out, root=Path(), jobs=1) == []
    assert sorted(path.name for path in out.iterdir()) == ["late-fold0-seed3", "late-fold1-seed3"]
    ids = [line.split(",")[0] for line in lines[1:]]
    for k, fold in enumerate(split.folds):
        found = out / f"late-fold{k}-seed3"
        tested = [line.split(",")[0] for line in (found / "predictions.csv").read_text().splitlines()[1:]]
        assert tested == [name for name, group in zip(ids, groups[1:], strict=True) if group in fold]
        assert result_of(found)["fold"] == k


def test_k_folds_test_every_clip_once_and_one_of_them_is_its_own_run(config: Config, tmp_path: Path) -> None:
    ids = [line.split(",")[0] for line in Path(config.data.manifest).read_text().splitlines()[1:]]
    folds = tiny.with_data(config, split=Split(k=3, fractions=(0.8, 0.2, 0.0)))
    out, alone = tmp_path / "runs", tmp_path / "alone"
    assert compare(folds, ["late"], [3], out, root=Path(), jobs=1) == []
    assert sorted(path.name for path in out.iterdir()) == [f"late-fold{k}-seed3" for k in range(3)]
    predicted = [(out / f"late-fold{k}-seed3/predictions.csv").read_text() for k in range(3)]
    assert sorted(line.split(",")[0] for text in predicted for line in text.splitlines()[1:]) == sorted(ids)
    assert [result_of(out / f"late-fold{k}-seed3")["fold"] for k in range(3)] == [0, 1, 2]
    one = tiny.with_data(config, split=Split(k=3, fold=1, fractions=(0.8, 0.2, 0.0)))
    assert compare(one, ["late"], [3], alone, root=Path(), jobs=1) == []
    assert [path.name for path in alone.iterdir()] == ["late-fold1-seed3"]
    assert (alone / "late-fold1-seed3/predictions.csv").read_text() == predicted[1]


def test_options_of_the_configuration_reach_each_method(config: Config) -> None:
    config = dataclasses.replace(config, options={"all": {"dim": 12}, "late": {"drop": 0.5}})
    cells = {
        cell.name: cell
        for cell in grid(config, methods_of(config, ["late", "unimodal"], Path()), [0], Path("out"), root=Path())
    }
    assert cells["late"].config.options["late"] == {"drop": 0.5}
    assert cells["unimodal (sound)"].config.options["unimodal"] == {"modality": "sound"}
    assert all(cell.config.options["all"] == {"dim": 12} for cell in cells.values())


def test_only_chosen_modalities_are_tried_alone(config: Config) -> None:
    config = tiny.with_data(config, modalities=["sound"])
    assert [
        cell.name for cell in grid(config, methods_of(config, ["unimodal"], Path()), [0], Path("out"), root=Path())
    ] == ["unimodal (sound)"]


def test_an_unknown_method_is_an_error_before_anything_runs(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown method 'lat'; did you mean 'late'"):
        compare(config, ["late", "lat"], [0], tmp_path / "runs", root=Path(), jobs=1)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("methods", "seeds", "message"),
    [
        (["late", "concat", "late"], [0], "methods: 'late' occurs twice"),
        (["late", "MINE/late.py"], [0], "methods: 'late' occurs twice"),
        (["late"], [0, 1, 0], "seeds: '0' occurs twice"),
    ],
)
def test_two_cells_of_one_name_are_an_error_before_anything_runs(
    config: Config, tmp_path: Path, methods: list[str], seeds: list[int], message: str
) -> None:
    (tmp_path / "late.py").write_text("from sparsefuse.methods.concat import build\n")
    methods = [method.replace("MINE", str(tmp_path)) for method in methods]
    with pytest.raises(ValueError, match=message):
        compare(config, methods, seeds, tmp_path / "runs", root=Path(), jobs=1)
    assert not (tmp_path / "runs").exists()


def test_two_variants_of_one_folder_are_an_error(config: Config, tmp_path: Path) -> None:
    variants = [Variant("late, 1/2", "late"), Variant("late 1-2", "late")]
    with pytest.raises(ValueError, match="variants: 'late-1-2' occurs twice"):
        grid(config, variants, [0], tmp_path / "runs", root=Path())


def test_a_cell_equals_a_run_trained_alone(config: Config, tmp_path: Path) -> None:
    from sparsefuse.training.train import train

    config = dataclasses.replace(config, method="late")
    compare(config, ["late"], [0], tmp_path / "runs", root=Path(), jobs=2)
    alone = train(config, tmp_path / "alone", root=Path(), measured=False)
    assert tiny.epochs(tmp_path / "runs" / "late-seed0") == tiny.epochs(alone)
    assert load(tmp_path / "runs" / "late-seed0").model.modalities == ("rgb", "sound")


def test_finished_cells_of_another_configuration_are_not_passed_off_as_this_ones(
    config: Config, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    compare(config, ["late"], [0], out, root=Path(), jobs=1)
    before = stamps(out)
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=2))
    with pytest.raises(ValueError, match=r"late-seed0 was started with train\.epochs=1, not 2"):
        compare(longer, ["concat", "late"], [0], out, root=Path(), jobs=1)
    assert stamps(out) == before, "nothing runs"


def test_finished_cells_of_changed_features_are_not_passed_off_as_todays(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    compare(config, ["late"], [0], out, root=Path(), jobs=1)
    before = stamps(out)
    tiny.write_set(tmp_path / "data", seed=1)
    with pytest.raises(ValueError, match=r"late-seed0 was started with other contents of these clips: .* restore them"):
        compare(config, ["concat", "late"], [0], out, root=Path(), jobs=1)
    assert stamps(out) == before, "nothing runs"


@pytest.mark.parametrize(("device", "jobs"), [("auto", 1), ("cuda:1", 1), ("cpu", 8)])
def test_a_gpu_takes_one_run_at_a_time_unless_told(monkeypatch: pytest.MonkeyPatch, device: str, jobs: int) -> None:
    monkeypatch.setattr(experiment, "cores", lambda: 8)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert experiment.usual_jobs(device) == jobs


def test_without_a_gpu_every_core_takes_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "cores", lambda: 8)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert experiment.usual_jobs("auto") == 8


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_cells_are_silent_but_for_failures_and_one_copy_of_each_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], jobs: int
) -> None:
    """What a cell writes to the screen would tear the progress bar."""
    manifest = tiny.write_set(tmp_path / "data", (9, 0, 4))
    (manifest.parent / "features" / "test0-rgb.npy").unlink()
    (tmp_path / "mine.py").write_text(BROKEN.format(error="KeyError('broken')"))
    config = tiny.config(manifest, epochs=1)
    methods = [str(tmp_path / "mine.py"), "late", "concat"]
    with caplog.at_level("INFO"):
        (failed,) = compare(config, methods, [0], tmp_path / "runs", root=Path(), jobs=jobs)
    assert "mine-seed0: KeyError: 'broken'" in failed
    (drawn, left_out) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert "the manifest has no valid split" in drawn
    assert "left out" in left_out
    assert caplog.messages.index(f"training 3 runs, {jobs} at a time: mine, late, concat") == 0
    assert sum("is finished" in record.message for record in caplog.records) == 2
    assert not any("epoch 1" in record.message for record in caplog.records)
    assert "latency_ms" in result_of(tmp_path / "runs" / "late-seed0")["cost"]
    shown = capfd.readouterr().err
    assert "2 of 3 runs" in shown
    assert "valid split" not in shown
    assert "left out" not in shown
