"""What `Classifier.save` and pickles keep of a run whose clips lie beside it, or are gone."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

import sparsefuse
from command import call
from sparsefuse import Classifier
from sparsefuse.config import Config
from sparsefuse.runs.folder import RunFolder

CLIPS = [np.full((2, 3), i % 2 * 3.0) for i in range(12)]
WORDS = ["a", "b"] * 6
METHOD = "from sparsefuse.methods.late import build as build\n"


def write_walks(folder: Path) -> Path:
    """Class folders of sensor readings, four rows each."""
    random = np.random.default_rng(0)
    for label, mean in {"walk": -2, "run": 2}.items():
        (folder / label).mkdir(parents=True)
        for i in range(5):
            lines = [f"{x:.3f},{y:.3f}" for x, y in random.normal(mean, 1, (4, 2))]
            (folder / label / f"{i}.csv").write_text("\n".join(["x,y", *lines]) + "\n")
    return folder


@pytest.mark.slow
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
    for one in (clip, str(clip), [clip]):
        assert clf.predict(one).tolist() == [sparsefuse.load(run).predict(clip).label], "readings are a clip"
    assert len(clf.predict(run / "clips" / "manifest.csv")) == 10, "and a manifest is not"
    assert call(monkeypatch, "eval", saved, "--split", "valid") == 0, "the features are found where they are"
    assert "clips  2" in capsys.readouterr().out
    assert call(monkeypatch, "report", saved) == 0
    assert clf.save(saved, overwrite=True) == saved, "a page is made anew"
    with pytest.raises(FileExistsError, match=r"run is not empty, and holds more than a run \(clips\)"):
        Classifier.load(saved).save(run, overwrite=True)
    shutil.rmtree(run)
    assert sparsefuse.load(saved).predict(clip).label in ("run", "walk")


def test_what_was_pickled_outlives_its_run_and_says_that_the_clips_are_gone(tmp_path: Path, caplog) -> None:
    clf = Classifier("late", epochs=1, device="cpu").fit(CLIPS, WORDS)
    run, shares, state = clf.run_, clf.predict_proba(CLIPS), pickle.dumps(clf)
    early = pickle.loads(state).save(tmp_path / "early")
    assert not caplog.records
    assert Path(RunFolder(early).read(Config).data.manifest).is_relative_to(early / "data")
    del clf
    assert not run.exists()
    again = pickle.loads(state)
    np.testing.assert_array_equal(again.predict_proba(CLIPS), shares)
    saved = again.save(tmp_path / "saved")
    assert (
        f"{saved}: the clips that the run was trained on are not saved, as their manifest is gone ({run}" in caplog.text
    )
    np.testing.assert_array_equal(Classifier.load(saved).predict_proba(CLIPS), shares)


def test_what_was_loaded_and_pickled_finds_its_files_from_anywhere(tmp_path: Path, monkeypatch) -> None:
    """The clips, and the code of the method."""
    monkeypatch.chdir(tmp_path)
    Path("fusion.py").write_text(METHOD)
    Classifier("fusion.py", epochs=1, device="cpu").fit(CLIPS, WORDS).save("saved")
    state = pickle.dumps(Classifier.load("saved", trust_code=True))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = pickle.loads(state)
    manifest = Path(RunFolder(again.run_).read(Config).data.manifest)
    assert manifest.is_file()
    assert manifest.is_relative_to(tmp_path / "saved" / "data")
    again.save("again")
    assert list(Path("again/data").glob("*/manifest.csv"))
