"""Windows of long clips by hand."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from sparsefuse import build
from sparsefuse.checks import check_config
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.sample import Sample
from sparsefuse.inference import evaluate
from sparsefuse.inference.predictor import load
from sparsefuse.tokens import Tokens
from sparsefuse.training import multiclip
from sparsefuse.training.train import train


def counted(lengths, padded):
    """Tokens that hold their own place, NaN beyond each sample's length."""
    mask = torch.arange(padded) < torch.tensor(lengths)[:, None]
    x = torch.arange(float(padded))[None, :, None].expand(len(lengths), -1, 1)
    return Tokens(x.masked_fill(~mask[..., None], float("nan")), mask)


def seen(lengths, padded, fit):
    return [
        [row[real].flatten().tolist() for row, real in zip(*window["a"], strict=True)]
        for window in multiclip.windows({"a": counted(lengths, padded)}, fit)
    ]


def test_windows_are_evenly_spaced_over_the_real_length():
    fit = Lengths(max_length=3, windows=3)
    found = seen([9, 5, 3, 2, 0], 9, fit)
    assert found == [
        [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1], []],
        [[3, 4, 5], [1, 2, 3], [0, 1, 2], [0, 1], []],
        [[6, 7, 8], [2, 3, 4], [0, 1, 2], [0, 1], []],
    ]


def test_clips_that_are_short_enough_are_seen_once():
    assert seen([3, 2], 3, Lengths(max_length=3, windows=4)) == [[[0, 1, 2], [0, 1]]]


def test_windows_of_patches_begin_with_the_first_of_a_frame():
    """Frames of two patches: the middle of six spare tokens is half of three frames, and rounds to two."""
    fit = Lengths(max_length=5, windows=3, patches={"a": 2})
    assert seen([10, 4], 10, fit) == [
        [[0, 1, 2, 3], [0, 1, 2, 3]],
        [[4, 5, 6, 7], [0, 1, 2, 3]],
        [[6, 7, 8, 9], [0, 1, 2, 3]],
    ]


def test_one_view_is_the_beginning_and_resampled_streams_are_left_alone():
    tokens = counted([9], 9)
    assert len(list(multiclip.windows({"a": tokens}, Lengths(max_length=3)))) == 1
    fit = Lengths(max_length=3, resample={"a": 5}, windows=2)
    assert [window["a"].x.shape[1] for window in multiclip.windows({"a": tokens}, fit)] == [9]
    assert fit.fit("a", torch.zeros(9, 1)).shape == (5, 1)
    assert Lengths(max_length=3, windows=2).fit("a", torch.zeros(9, 1)).shape == (9, 1)
    assert Lengths(max_length=3).fit("a", torch.zeros(9, 1)).shape == (3, 1)


def test_logits_are_the_mean_over_the_windows_each_given_alone():
    torch.manual_seed(0)
    model = build("late", {"a": 2, "b": 3}, 3, dim=10, num_heads=2, unimodal_depth=1).eval()
    a, b = torch.randn(1, 8, 2), torch.randn(1, 2, 3)

    def alone(x):
        return model({n: Tokens(t, torch.ones(t.shape[:2], dtype=torch.bool)) for n, t in (("a", x), ("b", b))}).logits

    found = multiclip.logits(
        model,
        {"a": Tokens(a, torch.ones(1, 8, dtype=torch.bool)), "b": Tokens(b, torch.ones(1, 2, dtype=torch.bool))},
        Lengths(max_length=4, windows=2),
    )
    torch.testing.assert_close(found, (alone(a[:, :4]) + alone(a[:, 4:])) / 2)


def test_a_run_remembers_the_patches_of_its_frames(tmp_path: Path) -> None:
    """They are said to be 16 x 16 pixels in patches of 8; a maximum of 6 of its tokens leaves one frame."""
    manifest = tiny.write_set(tmp_path / "data")
    made = {"extractor": "frames", "source": "video", "size": [16, 16], "patch": 8}
    (manifest.parent / "features.json").write_text(json.dumps({"features": {"rgb": made}}))
    config = tiny.with_data(tiny.config(manifest, "late", epochs=1), max_length=6, windows=2)
    train(config, tmp_path / "run", measured=False)
    fit = load(tmp_path / "run").fit
    assert fit.patches == {"rgb": 4}
    assert fit.longest("rgb") == 4


def test_training_evaluation_and_prediction_agree_and_the_end_of_a_clip_counts(tmp_path: Path) -> None:
    """Without windows, two clips that differ behind max_length only get the same answer."""
    manifest = tiny.write_set(tmp_path / "data")
    config = tiny.with_data(tiny.config(manifest, "late", epochs=1), max_length=3, windows=2)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    result = json.loads((run / "result.json").read_text())
    assert evaluate.evaluate(run)["loss"] == pytest.approx(result["test"]["loss"], abs=1e-6)
    assert json.loads((run / "model.json").read_text())["lengths"] == {"rgb": 3, "sound": 3}
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    clip = {name: np.load(tmp_path / f"data/features/test0-{name}.npy") for name in tiny.FEATURES}
    predictor = load(run)
    predictor.calibration = None  # predictions.csv has the probabilities as trained
    said = predictor.predict_one(clip).probabilities
    assert said == pytest.approx({name: float(rows[0][name]) for name in "abc"}, abs=1e-5)
    assert len(clip["sound"]) > 3
    clip["sound"] = clip["sound"].copy()
    clip["sound"][-1] += 5
    assert predictor.predict_one(clip).probabilities != pytest.approx(said, abs=1e-4)
    once = train(tiny.with_data(config, windows=1), tmp_path / "once", root=Path(), measured=False)
    assert result["test"]["loss"] != pytest.approx(json.loads((once / "result.json").read_text())["test"]["loss"])


def test_windows_without_a_length_are_an_error() -> None:
    config = tiny.with_data(tiny.config(Path("m.csv")), windows=2)
    with pytest.raises(ValueError, match=r"data.windows is 2, but data.max_length, the length of one, is 0"):
        check_config(config)


def test_predictions_keep_the_order_of_the_samples_whatever_the_batches() -> None:
    torch.manual_seed(0)
    model = build("concat", {"a": 3}, 2, lengths={"a": 5}, dim=4, num_heads=1, fusion_depth=1)
    samples = [Sample({"a": torch.randn(n, 3)}, torch.tensor(0), str(n)) for n in (2, 5, 3, 4)]
    alone = torch.cat([multiclip.predict(model, [s], Lengths(), 2, batches=[[0]]) for s in samples])
    together = multiclip.predict(model, samples, Lengths(), 2, batches=[[3, 1], [0]])
    torch.testing.assert_close(together[[0, 1, 3]], alone[[0, 1, 3]])
    assert together[2].tolist() == [0, 0]  # in no batch

    def without_end(tokens: multiclip.Streams) -> multiclip.Streams:
        return {name: Tokens(t.x, t.mask & (torch.arange(t.mask.shape[1]) < 2)) for name, t in tokens.items()}

    changed = multiclip.predict(model, samples, Lengths(), 2, batches=[range(4)], change=without_end)
    torch.testing.assert_close(changed[0], alone[0])
    assert not changed[1].allclose(alone[1])
