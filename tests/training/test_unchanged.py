"""What was trained on other clips than those that lie there now is not passed off as theirs: it is refused."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

import tiny
import tiny_pixels
import tiny_points
from sparsefuse.config import Config
from sparsefuse.runs.folder import RunFolder
from sparsefuse.training import unchanged
from sparsefuse.training.train import train
from sparsefuse.training.unchanged import Unchanged

CONTENTS = r"run was started with other contents of these clips: 2 files of features changed since; restore them, give"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return tiny.config(tiny.write_set(tmp_path / "data"), "concat", epochs=1)


def change(config: Config, ref: str = "features/train3-sound.npy") -> None:
    """Another file of the same shape."""
    path = Path(config.data.manifest).parent / ref
    np.save(path, np.load(path) + 1)


def files(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir()}


def test_a_finished_run_of_changed_features_is_refused(config: Config, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run", measured=False)
    before = files(run)
    assert train(config, run, resume=True) == run
    path = Path(config.data.manifest).parent / "features/train2-sound.npy"
    os.utime(path, ns=(1, 1))  # written anew, as it was
    assert train(config, run, resume=True) == run
    change(config)
    with pytest.raises(ValueError, match=CONTENTS):
        train(config, run, resume=True)
    assert files(run) == before


def test_a_finished_run_of_another_label_is_refused(config: Config, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run", measured=False)
    tiny.edit(Path(config.data.manifest), train3={"label": "b"})
    with pytest.raises(ValueError, match=r"run was started with other clips \(train 9 clips with other ids or labels"):
        train(config, run, resume=True)


def test_a_student_may_have_seen_unlabelled_clips_too(config: Config, tmp_path: Path) -> None:
    teacher = train(config, tmp_path / "teacher", measured=False)
    more = tiny.write_set(tmp_path / "more", seed=1)
    distill = dataclasses.replace(config.distill, teachers=[str(teacher)], unlabelled=str(more))
    student = dataclasses.replace(config, distill=distill)
    run = train(student, tmp_path / "run", measured=False)
    assert train(student, run, resume=True) == run
    change(config)
    with pytest.raises(ValueError, match="other contents of these clips: 1 file of features"):
        train(student, run, resume=True)


def test_clips_that_runs_share_are_read_once(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tiny.with_data(config, modalities=["sound"])
    runs = [(config, "a"), (dataclasses.replace(config, seed=1), "b"), (other, "c")]
    folders = [RunFolder(train(each, tmp_path / name, measured=False)) for each, name in runs]
    read = []
    load = unchanged.load_clips
    monkeypatch.setattr(unchanged, "load_clips", lambda *given: read.append(given) or load(*given))
    checked = Unchanged()
    for folder, (each, _) in zip(folders, runs, strict=True):
        checked.check(folder, each)
    assert len(read) == 2


def test_finished_runs_of_changed_pictures_and_clouds_are_refused(tmp_path: Path) -> None:
    pixels = tiny_pixels.config(tiny_pixels.write_scenes(tmp_path / "scenes", (2, 1, 1)), "late", train={"epochs": 1})
    points = tiny_points.config(tiny_points.write_clouds(tmp_path / "clouds", (2, 1, 1)), "points", train={"epochs": 1})
    for each, name in ((pixels, "a"), (points, "b")):
        train(each, tmp_path / name, measured=False, shown=False)
        train(each, tmp_path / name, resume=True, shown=False)
    first = tmp_path / "scenes/rgb/train0.png"
    first.write_bytes((tmp_path / "scenes/rgb/test0.png").read_bytes())
    boxes = tmp_path / "clouds/boxes/train0.json"
    boxes.write_text(boxes.read_text().replace('"yaw": ', '"yaw": 1'))
    for each, name in ((pixels, "a"), (points, "b")):
        with pytest.raises(ValueError, match=r"was started with other clips \(train 2 clips with other ids or labels"):
            train(each, tmp_path / name, resume=True, shown=False)
