"""Training end to end on a tiny data set: what it learns, keeps, writes and refuses."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from sparsefuse import mixup
from sparsefuse.config import Axes, Config, Picture, SpecAugment, Split
from sparsefuse.files import checkpoint
from sparsefuse.inference.evaluate import evaluate, open_run
from sparsefuse.inference.predictor import load
from sparsefuse.training import multiclip
from sparsefuse.training.options import options_of
from sparsefuse.training.train import _Run, new_model, train


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The manifest of 9 + 4 + 4 clips."""
    return tiny.write_set(tmp_path / "data")


def run_of(config: Config, out: Path) -> Path:
    return train(config, out, root=Path(), measured=False)


def result_of(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


def test_a_run_folder_holds_all_that_was_promised(data: Path, tmp_path: Path) -> None:
    config = tiny.config(data)
    run = run_of(config, tmp_path / "run")
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "env.json", "metrics.jsonl", "last.safetensors", "model.safetensors", "model.json"),
        *("skipped.jsonl", "predictions.csv", "result.json", "replay.safetensors", "calibration.json", "seen.txt"),
    }
    env = json.loads((run / "env.json").read_text())
    assert env["torch"] == torch.__version__
    assert env["seed"] == config.seed
    assert {"sparsefuse", "python", "platform", "device", "commit", "command"} <= env.keys()


def test_the_saved_configuration_is_the_one_that_ran(data: Path, tmp_path: Path) -> None:
    from jsonargparse import ArgumentParser

    config = tiny.with_data(
        tiny.config(data, lr=0.01, precision="bfloat16"),
        modality_dropout=0.25,
        spec_augment={"sound": SpecAugment(freq=2)},
        pictures={"rgb": Picture(5, 1, crop=0.2)},
        axes={"sound": Axes(size=2, swap=[(0, 1)])},
    )
    run = run_of(config, tmp_path / "run")
    parser = ArgumentParser()
    parser.add_class_arguments(Config, None)
    read = parser.instantiate(parser.parse_path(str(run / "config.json")))
    assert Config(**{name: read[name] for name in Config.__dataclass_fields__}) == config


def test_a_run_whose_checkpoint_one_person_chose_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Labels of the one validation person are rotated, as by a watch on the other wrist: learning makes it worse."""
    data = tiny.write_set(tmp_path / "data")
    header, *lines = data.read_text().splitlines()
    people = [f"{line},{'ann' if line.startswith('valid') else f'p{i}'}" for i, line in enumerate(lines)]
    data.write_text("\n".join([f"{header},group", *people]) + "\n")
    tiny.edit(data, **{f"valid{i}": {"label": "bca"[i % 3]} for i in range(4)})
    run = run_of(tiny.config(data, epochs=8, lr=0.02), tmp_path / "run")
    warnings = result_of(run)["warnings"]
    assert warnings[:2] == ["one group alone validates", "the first of 8 epochs is the best"]
    assert "one group alone (ann) validates" in caplog.text
    assert all(warning in caplog.text for warning in warnings)
    assert "ann" not in (run / "result.json").read_text()  # runs are shared


@pytest.mark.parametrize("task", ["class", "multilabel", "regression"])
def test_every_kind_of_label_is_learnt(tmp_path: Path, task: str) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data", task=task), epochs=12, lr=0.01)
    run = run_of(config, tmp_path / "run")
    lines = tiny.epochs(run)
    assert lines[-1]["train_loss"] < 0.7 * lines[0]["train_loss"]
    result = result_of(run)
    assert result["task"] == task
    assert all(math.isfinite(value) for value in [*result["valid"].values(), *result["test"].values()])
    assert ("per_class_ap" in result) == (task != "regression")
    assert ("confusion" in result) == (task == "class")


@pytest.mark.slow
def test_several_labels_per_clip_are_learnt_from_patches(tmp_path: Path) -> None:
    """As MBT on AudioSet: raw frames, several labels, SGD with warm-up and a cosine, mixed-up inputs."""
    config = tiny.config(
        tiny.write_set(tmp_path / "data", task="multilabel"),
        "mbt",
        options={"patches": {"sound": {"height": 4, "patch": 2, "time": 2}}},
        epochs=12,
        lr=0.5,
        optimizer="sgd",
        schedule="cosine",
        warmup_epochs=0.5,
        mixup="input",
        mixup_alpha=0.3,
        mixup_warmup=0,
        clip=1.0,
    )
    run = run_of(config, tmp_path / "run")
    lines = tiny.epochs(run)
    assert lines[-1]["train_loss"] < 0.8 * lines[0]["train_loss"]
    result = result_of(run)
    assert result["task"] == "multilabel"
    assert result["test"]["map"] > 0
    assert evaluate(run)["map"] == pytest.approx(result["test"]["map"])


@pytest.mark.slow
def test_a_run_tells_the_share_of_tokens_that_each_layer_exchanged(data: Path, tmp_path: Path) -> None:
    """Counted again clip by clip: validation clips have 3 to 6 tokens, and the second lacks rgb."""
    options = {"threshold": 0.5, "unimodal_depth": 1, "fusion_depth": 2}
    run = run_of(tiny.config(data, "tokenfusion", options=options), tmp_path / "run")
    opened = open_run(run, split="valid")
    model, replaced, tokens = opened.predictor.model, {}, 0
    for i in range(4):
        streams, passed = multiclip.streams(model, [opened.data[i]]), []
        model(streams, probe=lambda _, state, passed=passed: passed.append(state))
        tokens += sum(int(stream.mask.sum()) for stream in streams.values())
        for depth, layer in [(1, model.layers[1]), (2, model.layers[2])]:
            found = sum(int(taken.sum()) for taken in layer.exchanged(passed[depth]).values())
            replaced[depth + 1] = replaced.get(depth + 1, 0) + found
    result = result_of(run)
    assert result["exchanged"] == pytest.approx({str(layer): found / tokens for layer, found in replaced.items()})
    assert any(0 < share < 1 for share in result["exchanged"].values())
    best = tiny.epochs(run)[result["best_epoch"] - 1]
    assert {k: v for k, v in best.items() if "exchanged" in k} == {
        f"valid_exchanged_{layer}": share for layer, share in result["exchanged"].items()
    }


def test_a_run_that_exchanges_nothing_says_nothing_of_it(data: Path, tmp_path: Path) -> None:
    run = run_of(tiny.config(data), tmp_path / "run")
    assert "exchanged" not in (run / "result.json").read_text() + (run / "metrics.jsonl").read_text()


def test_predictions_csv_says_what_the_scores_say(data: Path, tmp_path: Path) -> None:
    run = run_of(tiny.config(data), tmp_path / "run")
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [f"test{i}" for i in range(4)]
    assert [row["label"] for row in rows] == ["a", "b", "c", "a"]
    for row in rows:
        shares = {name: float(row[name]) for name in "abc"}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(shares, key=lambda name: shares[name])
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert result_of(run)["test"]["top1"] == right / 4
    counted = np.array(result_of(run)["confusion"])
    assert counted.trace() == right
    assert counted.sum(1).tolist() == [2, 1, 1]


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_predictions_csv_of_other_tasks_can_be_read_back(tmp_path: Path, task: str) -> None:
    run = run_of(tiny.config(tiny.write_set(tmp_path / "data", task=task)), tmp_path / "run")
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    for i, row in enumerate(rows):
        truth = tiny.LABELS[task](i)
        if task == "multilabel":
            assert set(row["label"].split("|")) == set(truth.split("|"))
            assert row["predicted"] == "|".join(name for name in "abc" if float(row[name]) > 0.5)
        else:
            assert float(row["label"]) == float(truth)
    if task == "regression":
        errors = [abs(float(row["label"]) - float(row["predicted"])) for row in rows]
        assert result_of(run)["test"]["mae"] == pytest.approx(sum(errors) / 4, abs=1e-4)


def test_bfloat16_trains_and_keeps_float32_weights(data: Path, tmp_path: Path) -> None:
    exact = run_of(tiny.config(data), tmp_path / "float32")
    coarse = run_of(tiny.config(data, precision="bfloat16"), tmp_path / "bfloat16")
    kept = checkpoint.load(coarse / "model.safetensors").tensors
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}
    one, other = tiny.epochs(exact)[-1]["train_loss"], tiny.epochs(coarse)[-1]["train_loss"]
    assert one != other, "autocast must have been on"
    assert one == pytest.approx(other, rel=0.02)


def test_without_a_valid_split_the_training_loss_chooses(data: Path, tmp_path: Path) -> None:
    config = tiny.config(data, epochs=3)
    split = dataclasses.replace(config.data.split, by="stratified", fractions=(0.7, 0.0, 0.3))
    run = run_of(tiny.with_data(config, split=split), tmp_path / "run")
    lines = tiny.epochs(run)
    assert not any(key.startswith("valid_") for key in lines[0])
    assert result_of(run)["valid"] == {}
    assert result_of(run)["best_epoch"] == min(lines, key=lambda line: line["train_loss"])["epoch"]
    facts = checkpoint.load(run / "model.safetensors").facts
    assert facts["epoch"] == result_of(run)["best_epoch"]


def test_without_a_test_split_nothing_is_tested(tmp_path: Path) -> None:
    run = run_of(tiny.config(tiny.write_set(tmp_path / "data", (6, 3, 0))), tmp_path / "run")
    assert result_of(run)["test"] == {}
    assert not (run / "predictions.csv").exists()


def valid_losses(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """The validation losses that training sees, epoch by epoch."""
    given = iter(losses)
    monkeypatch.setattr(_Run, "valid_scores", lambda self: {"loss": next(given)})


def test_the_weights_kept_are_those_of_the_lowest_validation_loss(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny.config(data, epochs=5)
    saved = {}
    save = _Run.save

    def noted(self: _Run, at, /) -> None:
        save(self, at)
        saved[at.epoch] = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    monkeypatch.setattr(_Run, "save", noted)
    valid_losses(monkeypatch, [0.9, 0.5, 0.7, 0.5, 0.6])
    run = run_of(config, tmp_path / "run")
    found = checkpoint.load(run / "model.safetensors")
    assert found.facts == {"epoch": 2, "valid_loss": 0.5}
    assert result_of(run)["best_epoch"] == 2
    for name, tensor in saved[2].items():
        assert torch.equal(found.tensors[f"model/{name}"], tensor)
    assert any(not torch.equal(saved[2][name], saved[4][name]) for name in saved[2])


@pytest.mark.slow
def test_the_rate_falls_after_so_many_epochs_without_a_lower_loss(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patience 2: lowest in epochs 1 and 4; the rate of an epoch follows from the losses before it."""
    valid_losses(monkeypatch, [1.0, 1.1, 1.2, 0.5, 0.6, 0.7, 0.8, 0.9])
    config = tiny.config(data, epochs=8, patience=2, decay=0.5, lr=0.01)
    rates = [line["lr"] for line in tiny.epochs(run_of(config, tmp_path / "run"))]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.005, 0.005, 0.005, 0.0025, 0.0025])


@pytest.mark.parametrize("clip", [0.8, 0.01, 0.0])
def test_the_gradient_is_clipped_to_its_largest_norm(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: float
) -> None:
    norms = []
    step = torch.optim.AdamW.step

    def noted(self, *args, **kwargs):
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    run_of(tiny.config(data, clip=clip), tmp_path / "run")
    if clip:
        assert max(norms) <= clip + 1e-5
        assert clip == 0.8 or max(norms) > 0.99 * clip
    else:
        assert max(norms) > 0.8, "the default must act on this data"


def test_a_running_mean_of_the_weights_is_what_is_kept_and_scored(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[torch.Tensor] = []
    step = torch.optim.AdamW.step

    def noted(self, *args, **kwargs):
        step(self, *args, **kwargs)
        weights.append(torch.cat([p.detach().flatten() for p in self.param_groups[0]["params"]]))

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    run = run_of(tiny.config(data, epochs=1, ema=0.7, batch_size=2), tmp_path / "run")
    mean = weights[0]
    for later in weights[1:]:
        mean = 0.7 * mean + 0.3 * later
    assert len(weights) > 2
    predictor = load(run)
    torch.testing.assert_close(torch.cat([p.flatten() for p in predictor.model.parameters()]), mean)
    found = evaluate(run)
    assert found["loss"] == pytest.approx(result_of(run)["test"]["loss"], rel=1e-5)


def test_the_weights_after_each_of_the_last_epochs_are_averaged(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four epochs the last half; before, the weights themselves are validated."""
    weights, scored = [], []

    def flat(model: torch.nn.Module) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    def noted(self: _Run, valid=_Run.valid_scores):
        weights.append(flat(self.model))
        scored.append(flat(self.scored))
        return valid(self)

    monkeypatch.setattr(_Run, "valid_scores", noted)
    run = run_of(tiny.config(data, epochs=4, swa=0.5, best="last"), tmp_path / "run")
    expected = [weights[0], weights[1], weights[2], (weights[2] + weights[3]) / 2]
    torch.testing.assert_close(scored, expected)
    torch.testing.assert_close(flat(load(run).model), expected[3])
    assert result_of(run)["best_epoch"] == 4


def test_a_loss_that_is_no_number_stops_with_what_to_do(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparsefuse import metrics

    losses = metrics.losses
    monkeypatch.setattr(metrics, "losses", lambda *args, **kwargs: losses(*args, **kwargs) * float("nan"))
    with pytest.raises(ValueError, match=r"the loss is nan in epoch 1; lower train\.lr \(now 0\.001\)"):
        run_of(tiny.config(data), tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step makes all weights infinite."""

    def step(self: torch.optim.Optimizer) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                weight.data.fill_(float("inf"))

    monkeypatch.setattr(torch.optim.AdamW, "step", step)


@pytest.mark.usefixtures("diverging")
def test_weights_that_one_step_makes_infinite_are_not_saved(data: Path, tmp_path: Path) -> None:
    """Without a validation split nothing sees them: the loss is that before the step."""
    config = tiny.config(data, epochs=1, batch_size=20)
    config = tiny.with_data(config, split=Split("stratified", fractions=(0.8, 0.0, 0.2)))
    with pytest.raises(ValueError, match=r"model\.safetensors: model/\S+ has NaN or infinite values; was the learning"):
        run_of(config, tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.usefixtures("diverging")
def test_an_output_in_validation_that_is_not_finite_names_its_clip(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^clip valid\d: the model's output is \S+, not a finite number"):
        run_of(tiny.config(data, epochs=1, batch_size=9), tmp_path / "run")


def test_the_loss_of_an_epoch_is_the_mean_over_its_samples(data: Path, tmp_path: Path) -> None:
    """At rate 0 no weight moves: batches of 4, 4 and 1 must weigh by their samples, as one pass over all does."""
    config = tiny.config(data, epochs=1, lr=0.0)
    run = run_of(config, tmp_path / "run")
    whole = run_of(tiny.config(data, epochs=1, lr=0.0, batch_size=9), tmp_path / "whole")
    assert tiny.epochs(run)[0]["train_loss"] == pytest.approx(tiny.epochs(whole)[0]["train_loss"], abs=1e-6)
    predictor = load(run)
    predictor.calibration = None
    losses = []
    for i in range(9):
        files = {name: data.parent / f"features/train{i}-{name}.npy" for name in tiny.FEATURES}
        found = predictor.predict_one({name: file for name, file in files.items() if file.exists()})
        losses.append(-math.log(found.probabilities["abc"[i % 3]]))
    assert tiny.epochs(run)[0]["train_loss"] == pytest.approx(sum(losses) / 9, abs=1e-5)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(data: Path, tmp_path: Path) -> None:
    config = tiny.config(data, mixup_alpha=0.3, mixup_warmup=0)
    one, two = run_of(config, tmp_path / "one"), run_of(config, tmp_path / "two")
    other = run_of(dataclasses.replace(config, seed=1), tmp_path / "other")
    assert tiny.epochs(one) == tiny.epochs(two)
    assert tiny.epochs(one) != tiny.epochs(other)


def test_no_two_steps_draw_the_same_numbers(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 3 batches, 4 epochs and 2 seeds."""
    step, seeds = _Run._step, []

    def noted(self: _Run, *args, **kwargs) -> float:
        loss = step(self, *args, **kwargs)
        seeds.append(torch.initial_seed())
        return loss

    monkeypatch.setattr(_Run, "_step", noted)
    for seed in (0, 1):
        run_of(dataclasses.replace(tiny.config(data, epochs=4), seed=seed), tmp_path / f"run{seed}")
    assert len(seeds) == len(set(seeds)) == 24


def test_reading_ahead_in_other_processes_changes_nothing(data: Path, tmp_path: Path) -> None:
    config = tiny.config(data, epochs=1)
    here = run_of(config, tmp_path / "here")
    ahead = run_of(tiny.config(data, epochs=1, workers=1), tmp_path / "ahead")
    assert tiny.epochs(here) == tiny.epochs(ahead)


@pytest.mark.slow
def test_mixup_begins_after_its_warmup(data: Path, tmp_path: Path) -> None:
    plain = tiny.epochs(run_of(tiny.config(data, epochs=3), tmp_path / "plain"))
    mixed = tiny.epochs(run_of(tiny.config(data, epochs=3, mixup_alpha=0.3, mixup_warmup=2), tmp_path / "mixed"))
    assert mixed[:2] == plain[:2]
    assert mixed[2] != plain[2]


def test_options_of_all_reach_the_methods_that_know_them() -> None:
    config = Config(options={"all": {"dim": 10, "keep": 3}, "sft": {"dim": 20}, "late": {"drop": 0.5}})
    assert options_of(config) == {"dim": 20, "keep": 3}
    assert options_of(dataclasses.replace(config, method="late")) == {"dim": 10, "drop": 0.5}


@pytest.mark.parametrize("method", ["concat", "late", "mbt", "mult", "unimodal"])
def test_every_method_trains(data: Path, tmp_path: Path, method: str) -> None:
    run = run_of(tiny.config(data, method, epochs=1, mixup_alpha=0.3, mixup_warmup=0), tmp_path / "run")
    assert result_of(run)["method"] == method


def test_the_weights_follow_from_the_seed_alone(data: Path) -> None:
    from sparsefuse.data.clips import load_clips

    config = tiny.config(data)
    clips = load_clips(config.data, Path())
    one, two = new_model(config, clips).state_dict(), new_model(config, clips).state_dict()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "stf"}, "unknown method 'stf'; did you mean 'sft'"),
        ({"options": {"sft": {"depht": 3}}}, "unknown option of sft 'depht'"),
        ({"options": {"sft": {"keep": {"rbg": 2}}}}, "keep: unknown modality 'rbg'; did you mean 'rgb'"),
    ],
)
def test_wrong_names_are_errors_with_the_nearest_match(data: Path, tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_of(dataclasses.replace(tiny.config(data), **change), tmp_path / "run")
    assert not (tmp_path / "run").exists(), "a run that cannot begin leaves nothing behind"


def test_each_output_of_a_head_has_its_share_of_the_loss(data: Path, tmp_path: Path) -> None:
    method = tmp_path / "two.py"
    method.write_text(tiny.TWO_VOICES)
    config = tiny.config(data, str(method), epochs=1, batch_size=9)
    run = run_of(dataclasses.replace(config, options={}), tmp_path / "run")
    first = math.log(math.e**2 + 2) - 2 / 3  # three clips of each of three classes; the logit of one is 2
    assert tiny.epochs(run)[0]["train_loss"] == pytest.approx(0.75 * first + 0.25 * math.log(3), rel=1e-6)


def test_an_output_that_names_its_modality_learns_that_modalitys_share(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of rgb nothing is left, and all have one partner; so the first output gets that one's label alone."""

    def draw(tokens, plan, **_):
        whole, none = torch.ones(9), torch.zeros(9)
        lam = {"rgb": none, "sound": whole}
        return mixup.Mix(1, torch.zeros(9, dtype=torch.long), lam, whole, lam)

    monkeypatch.setattr(mixup, "draw", draw)
    method = tmp_path / "two.py"
    named = "expand(len(logits), -1), ('rgb', 'sound'))"
    assert tiny.TWO_VOICES.count("expand(len(logits), -1))") == 1
    method.write_text(tiny.TWO_VOICES.replace("expand(len(logits), -1))", named))
    config = tiny.config(data, str(method), epochs=1, batch_size=9, mixup_alpha=1.0, mixup_warmup=0)
    run = run_of(dataclasses.replace(config, options={}), tmp_path / "run")
    found = tiny.epochs(run)[0]["train_loss"]
    either = [math.log(math.e**2 + 2) - logit for logit in (2, 0)]  # whether the partner is of the first class or not
    expected = [0.75 * first + 0.25 * math.log(3) for first in either]
    assert min(abs(found - value) for value in expected) < 1e-5
