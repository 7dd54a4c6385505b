"""The chosen configuration as a file."""

from pathlib import Path

import yaml

from sparsefuse.budget.chosen import write_yaml
from sparsefuse.config import Config, Data, Distill


def test_a_manifest_that_is_a_link_keeps_its_name(tmp_path: Path) -> None:
    """Its rows are relative to where the link lies, not to the cache it leads to."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "e3b0c442").write_text("id,label\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.csv").symlink_to(tmp_path / "cache" / "e3b0c442")
    (tmp_path / "out").mkdir()
    write_yaml(tmp_path / "out" / "a.yaml", Config(data=Data(manifest="data/manifest.csv")), tmp_path, [])
    written = yaml.safe_load((tmp_path / "out" / "a.yaml").read_text())
    assert written["data"]["manifest"] == "../data/manifest.csv"


def test_teachers_are_found_from_where_the_file_is(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config(data=Data(manifest="a.csv"), distill=Distill(["runs/a", "runs/b"], unlabelled="more.csv"))
    write_yaml(Path("out/chosen.yaml"), config, Path(), [])
    written = yaml.safe_load(Path("out/chosen.yaml").read_text())
    assert written["distill"] == {"teachers": ["../runs/a", "../runs/b"], "unlabelled": "../more.csv"}
    again = Config.load("out/chosen.yaml").distill
    assert [Path(run).resolve() for run in again.teachers] == [tmp_path / "runs/a", tmp_path / "runs/b"]
