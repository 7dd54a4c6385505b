"""Training on pictures: scores in the run folder, and a run that was stopped anywhere is the one that never was."""

import json
from pathlib import Path

import pytest
import torch

import tiny_pixels
from sparsefuse.files import checkpoint
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.pixel_weights import load_pixel_model
from sparsefuse.runs.records import Result
from sparsefuse.training.pixels.train import PixelRun
from sparsefuse.training.train import train


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixels.write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.mark.slow
def test_a_run_says_what_every_stream_and_their_average_score(manifest: Path, tmp_path: Path) -> None:
    out = train(tiny_pixels.config(manifest, train={"epochs": 8}), tmp_path / "run", measured=False, shown=False)
    folder = RunFolder(out)
    result = folder.read(Result)
    assert folder.task == result.task == "segment"
    usual = {"loss", "pix_acc", "macc", "miou", "miou_rgb", "miou_depth", "miou_ensemble"}
    assert result.test.keys() == usual | {
        "exchanged_rgb", "exchanged_depth", "iou_0", "iou_1", "miou_without_rgb", "miou_without_depth", "miou_holes",
    }  # fmt: skip
    assert result.valid["miou"] > 0.6  # a wall everywhere: .4
    assert usual <= {name.removeprefix("valid_") for name in folder.epochs()[-1].scores}
    assert result.test["miou"] == pytest.approx(result.test["miou_ensemble"])
    assert sum(map(sum, result.confusion or [])) == 3 * 15 * 16  # the first row is ignored
    assert result.cost.lengths == {"depth": 256, "rgb": 256}
    assert folder.pictures.read_text().splitlines()[0] == "id,pix_acc,macc,miou"
    assert len(folder.pictures.read_text().splitlines()) == 4
    facts, model, stats = load_pixel_model(folder)[:3]
    assert facts.size == (16, 16)
    assert model.reads == ("depth", "rgb")
    assert stats.keys() == {"depth", "rgb"}


def test_a_run_tells_the_shares_of_channels_beside_those_of_tokens(manifest: Path, tmp_path: Path) -> None:
    options = {"tokenfusion": {"channel_threshold": 1.0, "channel_penalty": 10.0}}
    folder = RunFolder(train(tiny_pixels.config(manifest, options=options), tmp_path, measured=False, shown=False))
    result = folder.read(Result)
    assert result.channels is not None
    assert result.channels.keys() == {"rgb@1.1", "rgb@2.1", "depth@1.1", "depth@2.1"}
    for stream in ("rgb", "depth"):
        mean = (result.channels[f"{stream}@1.1"] + result.channels[f"{stream}@2.1"]) / 2
        assert result.test[f"channels_{stream}"] == pytest.approx(mean)
        assert mean > 0.5  # every factor started at the threshold
        assert f"valid_channels_{stream}" in folder.epochs()[-1].scores


EVERYTHING = {
    "pixels": {"flip": 0.5, "holes": 0.3, "scale": [0.8, 1.5]},
    "data": {"modality_dropout": 0.3},
    "train": {"ema": 0.6, "save_minutes": 0.0, "clip": 1.0},
}
ADVERSARIAL = {**EVERYTHING, "pixels": {**EVERYTHING["pixels"], "adversarial": 0.1}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "method", "changes"),
    [
        ("segment", "tokenfusion", EVERYTHING),
        ("translate", "late", ADVERSARIAL),
        pytest.param("translate", "concat", ADVERSARIAL, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_killed_within_an_epoch_is_continued_exactly(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, method: str, changes: dict
) -> None:
    config = tiny_pixels.config(manifest, method, task=task, **changes)
    one = train(config, tmp_path / "one", measured=False, shown=False)

    def save(self, at, save=PixelRun.save):
        save(self, at)
        if (at.epoch, at.batch) == (1, 2):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(PixelRun, "save", save)
        with pytest.raises(Killed):
            train(config, tmp_path / "other", measured=False, shown=False)
    other = train(config, tmp_path / "other", measured=False, shown=False, resume=True)
    assert_same(one, other)
    judged = [name for name in checkpoint.load(one / "last.safetensors").tensors if name.startswith("rival/")]
    assert bool(judged) == (task == "translate")


def assert_same(one: Path, other: Path) -> None:
    for name in ("model.safetensors", "last.safetensors"):
        mine, theirs = checkpoint.load(one / name).tensors, checkpoint.load(other / name).tensors
        assert mine.keys() == theirs.keys()
        for key, tensor in mine.items():
            assert torch.equal(tensor, theirs[key]), key
    for name in ("pictures.csv", "model.json", "config.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    results = [json.loads((run / "result.json").read_text()) for run in (one, other)]
    assert [result.pop("seconds") > 0 for result in results] == [True, True]
    assert results[0] == results[1]


@pytest.mark.slow
def test_a_translation_has_the_scores_of_pictures(manifest: Path, tmp_path: Path) -> None:
    config = tiny_pixels.config(manifest, "early", task="translate", train={"epochs": 6})
    folder = RunFolder(train(config, tmp_path / "run", measured=False, shown=False))
    result, facts = folder.read(Result), folder.read(PixelFacts)
    assert result.test.keys() == {
        "loss", "mae", "mse", "psnr", "ssim", "mae_without_rgb", "mae_without_depth", "mae_holes",
    }  # fmt: skip
    assert result.test["loss"] == pytest.approx(result.test["mae"], rel=1e-5)  # pictures of one size
    assert facts.task == "translate"
    assert facts.outputs == 3
    assert facts.guessed == ["depth"]
    lines = folder.epochs()
    assert lines[-1].scores["valid_mae"] < lines[0].scores["valid_mae"]


def test_depth_that_is_translated_to_keeps_its_metres(manifest: Path, tmp_path: Path) -> None:
    """Training depths are 1500 to 3039 mm at most."""
    config = tiny_pixels.config(
        manifest, "early", task="translate", data={"modalities": ["rgb"], "label": "depth"}, train={"epochs": 1}
    )
    facts = RunFolder(train(config, tmp_path / "run", measured=False, shown=False)).read(PixelFacts)
    low, high = facts.depths
    assert 1.5 <= low < 1.54
    assert 2.9 < high <= 3.04


def test_a_loss_that_is_no_number_is_an_error(manifest: Path, tmp_path: Path) -> None:
    config = tiny_pixels.config(manifest, "early", train={"lr": 1e5, "clip": 0.0, "optimizer": "sgd"})
    with pytest.raises(ValueError, match=r"the loss is (nan|inf) in epoch \d; lower train.lr"):
        train(config, tmp_path / "run", measured=False, shown=False)


def test_a_mean_of_weights_and_bfloat16_train(manifest: Path, tmp_path: Path) -> None:
    config = tiny_pixels.config(manifest, "sft", train={"swa": 0.5, "precision": "bfloat16", "best": "miou"})
    result = RunFolder(train(config, tmp_path / "run", measured=False, shown=False)).read(Result)
    assert result.test["loss"] < 2


def test_a_score_that_there_is_not_chooses_no_epoch(manifest: Path, tmp_path: Path) -> None:
    config = tiny_pixels.config(manifest, train={"best": "mae"})
    with pytest.raises(ValueError, match="unknown score of task segment 'mae'"):
        train(config, tmp_path / "run", measured=False, shown=False)


def test_torchrun_is_refused(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="trained on in one process, torchrun started 2"):
        train(tiny_pixels.config(manifest), tmp_path / "run", measured=False, shown=False)
