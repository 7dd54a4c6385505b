"""Paths that lead from the folder of the file that holds them."""

from pathlib import Path

import pytest

from sparsefuse.files.located import located, relative


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("data", "elsewhere", "disk/run"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data/m.csv").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_path_leads_to_its_file_from_another_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = relative("data/m.csv", Path("disk/run"))
    assert written == "../../data/m.csv"
    assert located(written, Path("disk/run")) == "data/m.csv"
    assert located(written, here / "disk/run") == str(here / "data/m.csv")
    monkeypatch.chdir(here / "elsewhere")
    assert located(written, Path("../disk/run")) == "../data/m.csv"


def test_a_folder_may_be_a_link(here: Path) -> None:
    (here / "run").symlink_to(here / "disk/run")
    written = relative("data/m.csv", Path("run"))
    assert written == "../../data/m.csv"
    assert located(written, Path("run")) == "data/m.csv"


def test_absolute_paths_and_those_of_older_versions_stay(here: Path) -> None:
    assert relative(str(here / "data/m.csv"), Path("disk/run")) == str(here / "data/m.csv")
    assert located(str(here / "data/m.csv"), Path("disk/run")) == str(here / "data/m.csv")
    assert located("data/m.csv", Path("disk/run")) == "data/m.csv"
    assert located("gone.csv", Path("disk/run")) == "gone.csv"
    assert located("../gone.csv", Path("disk/run")) == "disk/gone.csv"
    assert relative("", Path("disk/run")) == located("", Path("disk/run")) == ""
