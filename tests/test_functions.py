"""The public functions, called as from a notebook: paths as text, fields of the configuration as arguments."""

import dataclasses
from pathlib import Path

import pytest

import sparsefuse
import tiny
from sparsefuse.config import Config
from sparsefuse.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("made_up_costs")


@pytest.fixture(scope="module")
def yaml_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A configuration whose manifest is named relative to it."""
    folder = tmp_path_factory.mktemp("data")
    tiny.write_set(folder)
    return str(tiny.write_yaml(folder / "c.yaml", tiny.config(Path("manifest.csv"))))


def test_train_takes_a_yaml_and_fields_on_top(yaml_file: str, tmp_path: Path) -> None:
    run = sparsefuse.train(yaml_file, str(tmp_path / "run"), method="late", train={"epochs": 1})
    assert run == tmp_path / "run"
    written = RunFolder(run).read(Config)
    assert written == Config.load(yaml_file, method="late", train={"epochs": 1})
    assert sparsefuse.load(run).model.modalities == ("rgb", "sound")


def test_train_writes_to_the_folder_that_the_command_line_takes(yaml_file: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sparsefuse.train(yaml_file, method="late", train={"epochs": 1}) == Path("runs/train")
    with pytest.raises(FileExistsError, match="holds a run already"):
        sparsefuse.train(yaml_file, method="late", train={"epochs": 1})


def test_check_takes_a_manifest(yaml_file: str) -> None:
    manifest = Path(yaml_file).parent / "manifest.csv"
    found = sparsefuse.check(manifest, jobs=1)
    assert (found.rows, set(found.modalities)) == (17, {"rgb", "sound"})
    assert (
        found == sparsefuse.check(yaml_file, jobs=1) == sparsefuse.check("manifest.csv", root=manifest.parent, jobs=1)
    )
    only = sparsefuse.check(str(manifest), jobs=1, data={"modalities": ["rgb"]})
    assert set(only.modalities) == {"rgb"}


def test_a_report_of_check_prints_its_problems(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path)
    for i in range(2, 7):  # the second clip has no other stream
        (tmp_path / "features" / f"train{i}-sound.npy").unlink()
    first, *rest = str(sparsefuse.check(manifest, jobs=1)).splitlines()
    assert first.startswith(f"{manifest}: 17 samples; 5 errors, ")
    errors = [line for line in rest if line.startswith("error: ")]
    assert [name in line for name, line in zip(("train2", "train3", "train4"), errors, strict=True)] == [True] * 3
    assert "... and 2 more" in rest


@pytest.mark.parametrize("function", [sparsefuse.train, sparsefuse.check])
def test_a_missing_or_wrong_configuration_is_an_error_of_one_line(function, yaml_file: str) -> None:
    with pytest.raises(ValueError, match="no manifest given"):
        function()
    with pytest.raises(ValueError, match=r"did you mean train=\{'epochs': ...\}"):
        function(yaml_file, epochs=1)
    with pytest.raises(ValueError, match="unknown method 'lat'; did you mean 'late'"):
        function(dataclasses.replace(Config.load(yaml_file), options={"lat": {}}))


@pytest.mark.slow
def test_compare_and_ablate_give_the_table_of_all_runs_below_their_folder(yaml_file: str, tmp_path: Path) -> None:
    few = {"seeds": [0], "jobs": 1, "train": {"epochs": 1}}
    table = sparsefuse.compare(yaml_file, ["late"], out=str(tmp_path / "runs"), baseline=False, **few)
    assert [line[:2] for line in table.lines] == [["late", "1"]]
    assert (table.failed, table.best()) == ([], "late")
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "late-seed0", "compare.csv", "compare.md", "report.html",
    }  # fmt: skip
    untested = sparsefuse.ablate(
        yaml_file, "drop", [0.0, "no"], out=tmp_path / "drop", tested=False, method="late", **few
    )
    assert [line[0] for line in untested.lines] == ["late, drop=0.0"]
    assert untested.head[2] == "Valid Top-1 %"
    (failed,) = untested.failed
    assert "late-drop-no-seed0: ValueError: drop of late is 'no'" in failed
    assert f"failed: {failed}" in str(untested).splitlines()


def test_a_study_of_which_no_run_finished_names_what_failed(yaml_file: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sparsefuse.study.conduct.run", lambda cells, **_: [f"{cell.folder}: broken" for cell in cells])
    found = sparsefuse.study(yaml_file, tmp_path, train={"mixup_alpha": 0.3}, study={"experiments": ["t4"]})
    assert found.page is None
    assert len(found.failed) == 3 * 3, "poolings x seeds"


def test_a_budget_without_a_limit_is_an_error(yaml_file: str) -> None:
    with pytest.raises(ValueError, match="no budget given"):
        sparsefuse.budget(yaml_file, trials=1)


def test_compare_takes_all_methods_unless_told(yaml_file: str, tmp_path: Path, monkeypatch) -> None:
    cells: list = []
    monkeypatch.setattr("sparsefuse.experiments.grid.run", lambda found, **_: cells.extend(found) or [])
    sparsefuse.compare(yaml_file, out=tmp_path)
    assert {cell.config.method for cell in cells} == {*sparsefuse.methods(), "baseline"}
    assert {cell.config.seed for cell in cells} == {0, 1, 2}
