"""Training on clouds: scores in the run folder, and a run that was stopped anywhere is the one that never was."""

import json
import logging
from pathlib import Path

import pytest
import torch

import tiny_points
from sparsefuse.files import checkpoint
from sparsefuse.inference.evaluate import evaluate
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.point_facts import PointFacts
from sparsefuse.runs.point_weights import load_point_model
from sparsefuse.runs.records import Result
from sparsefuse.training.points.train import PointRun
from sparsefuse.training.train import train


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_points.write_clouds(tmp_path_factory.mktemp("clouds"))


def run(manifest: Path, out: Path, *args, resume: bool = False, **changes) -> RunFolder:
    return RunFolder(
        train(tiny_points.config(manifest, *args, **changes), out, measured=False, shown=False, resume=resume)
    )


@pytest.mark.slow
def test_a_run_says_what_is_found_of_every_class_and_with_fewer_pictures(manifest: Path, tmp_path: Path) -> None:
    folder = run(manifest, tmp_path / "run", "tokenfusion", train={"best": "map25"})
    result = folder.read(Result)
    assert folder.task == result.task == "detect"
    assert result.test.keys() == {
        "loss", "map25", "map50", "ap25_crate", "ap25_drum", "ap50_crate", "ap50_drum", "exchanged_1",
        "exchanged_objects_1", "map25_without_pictures", "map25_with_1",
    }  # fmt: skip
    assert {name.removeprefix("valid_") for name in folder.epochs()[-1].scores} == {
        "loss",
        "map25",
        "map50",
        "exchanged_1",
        "exchanged_objects_1",
    }
    assert result.exchanged == {"1": result.valid["exchanged_1"]}
    assert result.classes == ["crate", "drum"]
    assert result.cost.lengths == {"points": 64, "pictures": 512}
    assert result.cost.gmacs > 0
    lines = folder.pictures.read_text().splitlines()
    assert lines[0] == "id,map25,map50"
    assert [line.split(",")[0] for line in lines[1:]] == ["test0", "test1", "test2"]
    facts, model, stats = load_point_model(folder)
    assert (facts.num_points, facts.points, facts.pictures, facts.size) == (64, 64, 2, (16, 16))
    assert result.cost.parameters == sum(p.numel() for p in model.parameters())
    assert stats.keys() == {"pictures"}


@pytest.mark.slow
def test_points_alone_have_no_scores_of_pictures(manifest: Path, tmp_path: Path) -> None:
    for i, changes in enumerate(({"args": ["points"]}, {"args": ["painted"], "points": {"frames": 0}})):
        folder = run(manifest, tmp_path / str(i), *changes.pop("args"), train={"epochs": 1}, **changes)
        result = folder.read(Result)
        assert result.cost.lengths == {"points": 64}
        assert not [name for name in result.test if "pictures" in name]
    assert folder.read(PointFacts).frames == 0


def test_test_scenes_without_boxes_have_no_precision_and_end_no_run(tmp_path: Path) -> None:
    manifest = tiny_points.write_clouds(tmp_path, (4, 1, 1))
    for name in ("test0", "valid0"):
        (tmp_path / f"boxes/{name}.json").write_text("[]")
    result = run(manifest, tmp_path / "run", train={"epochs": 1}).read(Result)
    assert result.test.keys() == {"loss"}
    with pytest.raises(ValueError, match=r"train\.best is map25, .* no such score; it gives loss"):
        run(manifest, tmp_path / "other", train={"epochs": 1, "best": "map25"})


EVERYTHING = {
    "points": {"flip": 0.5, "rotate": 30.0, "scale": [0.9, 1.1], "jitter": 0.01, "channels": ["height"]},
    "data": {"modality_dropout": 0.3},
    "train": {"ema": 0.6, "save_minutes": 0.0, "clip": 1.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["tokenfusion", pytest.param("painted", marks=pytest.mark.slow)])
def test_a_run_that_was_killed_within_an_epoch_is_continued_exactly(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    one = run(manifest, tmp_path / "one", method, **EVERYTHING)

    def save(self, at, save=PointRun.save):
        save(self, at)
        if (at.epoch, at.batch) == (1, 2):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(PointRun, "save", save)
        with pytest.raises(Killed):
            run(manifest, tmp_path / "other", method, **EVERYTHING)
    other = run(manifest, tmp_path / "other", method, **EVERYTHING, resume=True)
    for name in ("model.safetensors", "last.safetensors"):
        mine, theirs = checkpoint.load(one.path / name).tensors, checkpoint.load(other.path / name).tensors
        assert mine.keys() == theirs.keys()
        for key, tensor in mine.items():
            assert torch.equal(tensor, theirs[key]), key
    for name in ("pictures.csv", "model.json", "config.json"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name
    results = [json.loads((folder.path / "result.json").read_text()) for folder in (one, other)]
    assert [result.pop("seconds") > 0 for result in results] == [True, True]
    assert results[0] == results[1]


@pytest.mark.slow
def test_a_run_knows_its_pictures_and_cameras(tmp_path: Path) -> None:
    """If it reads any: where the files changed since, it is neither continued nor scored as if they had not."""
    manifest = tiny_points.write_clouds(tmp_path / "scenes", (4, 1, 1))
    sees, blind = (run(manifest, tmp_path / name, name, train={"epochs": 1}) for name in ("painted", "points"))
    expected = {folder.path: evaluate(folder.path)["loss"] for folder in (sees, blind)}
    path = manifest.parent / "cameras/test0.json"
    path.write_text(path.read_text().replace("12.0", "13.0"))
    with pytest.raises(ValueError, match=r"was started with other pictures or cameras \(of test\)"):
        evaluate(sees.path)
    with pytest.raises(ValueError, match="other pictures or cameras"):
        run(manifest, sees.path, "painted", train={"epochs": 2}, resume=True)
    assert evaluate(blind.path)["loss"] == pytest.approx(expected[blind.path], rel=1e-5)


def test_scenes_that_cannot_be_used_are_listed(manifest: Path, tmp_path: Path) -> None:
    bad = tiny_points.write_clouds(tmp_path / "bad")
    (bad.parent / "cloud/train2.npz").write_bytes(b"PK")
    folder = run(bad, tmp_path / "run", "points", train={"epochs": 1})
    assert [skip.id for skip in folder.skips()] == ["train2"]
    result = folder.read(Result)
    assert (result.skipped, result.splits["train"]) == (1, 5)


def test_a_method_that_reads_pictures_needs_some(tmp_path: Path) -> None:
    bare = tiny_points.write_clouds(tmp_path / "bare", frames=0)
    with pytest.raises(ValueError, match="painted reads pictures, and most training scenes have none"):
        run(bare, tmp_path / "run")


def test_scenes_with_more_boxes_than_are_found_at_most_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crowded = tiny_points.write_clouds(tmp_path / "crowded")
    path = crowded.parent / "boxes/train3.json"
    path.write_text(json.dumps(json.loads(path.read_text()) * 35))
    with caplog.at_level(logging.WARNING):
        folder = run(crowded, tmp_path / "run", "points", train={"epochs": 1})
    assert "1 training scenes have more than 10 boxes, and that many are found at most: train3" in caplog.text
    assert folder.read(Result).splits["train"] == 6


def test_other_scenes_do_not_continue_a_run(tmp_path: Path) -> None:
    manifest = tiny_points.write_clouds(tmp_path / "clouds")
    out = tmp_path / "run"

    def stop(_):
        return True

    train(tiny_points.config(manifest, "points"), out, measured=False, shown=False, stop=stop)
    path = manifest.parent / "boxes/train3.json"
    path.write_text(path.read_text().replace('"yaw": ', '"yaw": 1'))
    with pytest.raises(ValueError, match="was started with other clips"):
        run(manifest, out, "points", resume=True)


@pytest.mark.slow
def test_measured_costs_are_of_a_usual_scene(manifest: Path, tmp_path: Path) -> None:
    out = train(tiny_points.config(manifest, "late", train={"epochs": 1}), tmp_path / "run", shown=False)
    cost = RunFolder(out).read(Result).cost
    assert cost.fastest_ms is not None
    assert cost.fastest_ms > 0
    assert cost.memory_mb is not None
