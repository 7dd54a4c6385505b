"""A run works from any current folder, and after it was moved with its data."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import tiny
from command import call
from sparsefuse.config import Config
from sparsefuse.experiments.fit import fit
from sparsefuse.files.whole import read_json
from sparsefuse.runs.folder import RunFolder
from sparsefuse.training.train import train

METHOD = """
from sparsefuse.methods.late import build as late
def build(features, num_classes, *, lengths=None):
    return late(features, num_classes, lengths=lengths, dim=10, num_heads=2)
"""
OWN = """
import numpy as np
SOURCE = "series"
def extract(path):
    return np.loadtxt(path, np.float32, delimiter=",", ndmin=2)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_eval_and_predict_find_data_and_code_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here"
    for label in ("a", "b"):
        (here / "clips" / label).mkdir(parents=True)
        for i in range(4):
            np.savetxt(
                here / "clips" / label / f"{i}.csv",
                np.random.default_rng(ord(label) * 10 + i).normal(size=(3, 2)),
                delimiter=",",
            )
    (here / "my").mkdir()
    (here / "my/fusion.py").write_text(METHOD)
    (here / "my/own.py").write_text(OWN)
    monkeypatch.chdir(here)
    features = {"x": {"extractor": "my/own.py", "source": "series"}}
    run = fit("clips", method="my/fusion.py", features=features, epochs=1, jobs=1)
    assert run == Path("runs/fit")
    facts, config = (read_json(run / name) for name in ("model.json", "config.json"))
    assert facts["method"] == config["method"] == "../../my/fusion.py"
    assert facts["extract"]["features"]["x"]["extractor"] == "../../my/own.py"
    assert config["data"]["manifest"] == "features/manifest.csv"
    shutil.move(here, tmp_path / "there")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for run in (Path("../there/runs/fit"), tmp_path / "there/runs/fit"):
        assert call(monkeypatch, "eval", run, "--trust-code") == 0
        assert call(monkeypatch, "predict", run, "../there/clips/a/0.csv", "--trust-code") == 0
    assert "top1" in capsys.readouterr().out


def test_a_run_resumes_from_another_folder_and_knows_another_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_set(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    run = train(tiny.config(Path("data/manifest.csv"), epochs=1), Path("run"), root=Path(), measured=False)
    assert RunFolder(run).read(Config).data.manifest == "data/manifest.csv"
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    config = tiny.config(Path("../data/manifest.csv"), epochs=1)
    assert RunFolder(Path("../run")).read(Config) == config
    train(config, tmp_path / "run", root=Path(), resume=True)
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, manifest="data/manifest.csv"))
    with pytest.raises(ValueError, match=r"was started with data\.manifest='.*/data/manifest\.csv', not '.*/work/data"):
        train(other, tmp_path / "run", root=Path(), resume=True)
