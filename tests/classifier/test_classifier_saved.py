"""What `Classifier.save` writes of a run that the command `fit` made, with its clips and features beside it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import sparsefuse
from command import call
from sparsefuse import Classifier


def write_walks(folder: Path) -> Path:
    """Class folders of sensor readings, four rows each."""
    random = np.random.default_rng(0)
    for label, mean in {"walk": -2, "run": 2}.items():
        (folder / label).mkdir(parents=True)
        for i in range(5):
            lines = [f"{x:.3f},{y:.3f}" for x, y in random.normal(mean, 1, (4, 2))]
            (folder / label / f"{i}.csv").write_text("\n".join(["x,y", *lines]) + "\n")
    return folder


@pytest.mark.usefixtures("made_up_costs")
def test_a_run_of_fit_is_saved_without_its_clips_as_often_as_one_likes(tmp_path: Path, monkeypatch, capsys) -> None:
    walks = write_walks(tmp_path / "walks")
    run = sparsefuse.fit(walks, method="late", epochs=1, out=tmp_path / "run", jobs=1)
    assert {"clips", "features", "clock.json", "check.html", "report.html"} <= {path.name for path in run.iterdir()}
    clf, saved = Classifier.load(run), tmp_path / "saved"
    assert clf.save(saved) == clf.save(saved, overwrite=True) == saved
    left = {"clips", "features", "clock.json", "check.html", "report.html"}
    assert {path.name for path in saved.iterdir()} == {path.name for path in run.iterdir()} - left
    clip = walks / "run" / "0.csv"
    assert sparsefuse.load(saved).predict(clip) == sparsefuse.load(run).predict(clip)
    assert call(monkeypatch, "eval", saved, "--split", "valid") == 0, "the features are found where they are"
    assert "clips  2" in capsys.readouterr().out
    assert call(monkeypatch, "report", saved) == 0
    assert clf.save(saved, overwrite=True) == saved, "a page is made anew"
    with pytest.raises(FileExistsError, match=r"run is not empty, and holds more than a run \(clips\)"):
        Classifier.load(saved).save(run, overwrite=True)
    shutil.rmtree(run)
    assert sparsefuse.load(saved).predict(clip).label in ("run", "walk")
