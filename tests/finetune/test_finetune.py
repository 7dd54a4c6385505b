"""A new run that knows a user's clips, made of a run that stays as it was."""

import contextlib
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from sparsefuse import metrics
from sparsefuse.cli.app import main
from sparsefuse.files import checkpoint
from sparsefuse.finetune import Settings, finetune
from sparsefuse.inference.evaluate import evaluate
from sparsefuse.inference.predictor import load
from sparsefuse.layers.head import Head
from sparsefuse.report.page import write_report
from sparsefuse.runs.folder import RunFolder
from sparsefuse.sharing.card import card
from sparsefuse.training import replay, states
from sparsefuse.training.train import train

LABELS = "aabb"
"""the user's clips are of two of the three classes"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetune")
    config = tiny.config(tiny.write_set(folder / "data"), epochs=3, lr=0.01)
    return train(config, folder / "run", root=Path(), measured=False)


def write_user(folder: Path, labels: str, *, seed: int = 0) -> Path:
    """A user's clips, which show their class otherwise than the training clips: by a lack where those have more."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["id,rgb,sound,label"]
    for i, label in enumerate(labels):
        for name, width in tiny.FEATURES.items():
            values = rng.normal(size=(3, width)).astype(np.float32)
            values[:, "abcxyz".index(label) % 3] -= 2
            np.save(folder / f"{i}-{name}.npy", values)
        lines.append(f"user{i},{i}-rgb.npy,{i}-sound.npy,{label}")
    (folder / "user.csv").write_text("\n".join(lines) + "\n")
    return folder / "user.csv"


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_user(tmp_path_factory.mktemp("user"), LABELS)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["losses", "head"])
def test_a_rate_at_which_training_diverges_says_so(
    run: Path, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    owner, name = {"losses": (metrics, "losses"), "head": (Head, "forward")}[part]
    before = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: before(*args, **kwargs) * float("nan"))
    said = (
        r"the loss is nan; lower --lr \(now 0\.5\)" if part == "losses" else "held-out clips is not finite; lower --lr"
    )
    with pytest.raises(ValueError, match=said):
        finetune(run, user, tmp_path / "new", settings=Settings("all", epochs=2, lr=0.5, replay=False), measured=False)
    assert not (tmp_path / "new").exists()


def weights(run: Path) -> dict[str, Tensor]:
    return checkpoint.load(run / "model.safetensors").tensors


def adapt(run: Path, user: Path, out: Path, **settings: Any) -> Path:
    return finetune(run, user, out, settings=Settings(**{"epochs": 3, **settings}), measured=False)


@pytest.fixture(scope="module")
def adapted(run: Path, user: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapted") / "new"
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    test = write_user(out.parent / "test", "aabb", seed=7)
    argv = [str(part) for part in (run, user, "--out", out, "--test", test, "--epochs", 6, "--lr", 0.01)]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setattr("sys.argv", ["sparsefuse", "finetune", *argv])
        main()
    (out.parent / "said.txt").write_text(said.getvalue())
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before  # the original stays
    return out


@pytest.mark.slow
def test_the_new_run_answers_with_what_was_learnt(run: Path, adapted: Path) -> None:
    """predictions.csv is of the adapted model as it was in memory."""
    predictor = load(adapted)
    rows = list(csv.DictReader((adapted / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 4
    for i, row in enumerate(rows):
        clip = {name: adapted.parent / f"test/{i}-{name}.npy" for name in tiny.FEATURES}
        found = predictor.predict_one(clip)
        assert found.label == row["predicted"]
        assert found.probabilities == pytest.approx({name: float(row[name]) for name in "abc"}, abs=1e-5)
        assert found.probabilities != pytest.approx(load(run).predict_one(clip).probabilities, abs=1e-3)


def test_its_loss_on_clips_not_learnt_from_is_lower_than_the_originals(adapted: Path) -> None:
    found = json.loads((adapted / "result.json").read_text())["finetune"]
    assert found["test"]["after"]["loss"] < found["test"]["before"]["loss"] - 0.1
    assert found["held_out"]["after"]["loss"] < found["held_out"]["before"]["loss"] - 0.1


def test_the_scores_before_are_those_of_the_original(run: Path, adapted: Path) -> None:
    result = json.loads((adapted / "result.json").read_text())
    before = evaluate(run, manifest=adapted.parent / "test/user.csv")
    assert result["finetune"]["test"]["before"]["loss"] == pytest.approx(before["loss"])
    assert result["test"]["loss"] == pytest.approx(evaluate(adapted, manifest=adapted.parent / "test/user.csv")["loss"])


def test_it_is_scored_on_the_clips_of_the_original_like_it(run: Path, adapted: Path) -> None:
    assert evaluate(adapted, split="valid")["clips"] == evaluate(run, split="valid")["clips"] == 4


def test_the_run_says_what_it_was_made_of_and_what_a_step_costs(run: Path, adapted: Path) -> None:
    import hashlib

    facts = json.loads((adapted / "model.json").read_text())
    assert facts["finetuned_from"]["weights"] == hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    assert facts["finetuned_from"]["clips"]["count"] == 4
    found = json.loads((adapted / "result.json").read_text())["finetune"]
    assert found["settings"]["lr"] == 0.01
    model = load(run).model
    parts = [model.head, *model.layers[states.fusion_depth(model) :]]
    assert found["effort"]["trained"] == sum(p.numel() for part in parts for p in part.parameters())
    assert found["effort"]["step_ms"] > 0
    assert found["effort"]["memory_mb"] > 0
    assert (found["effort"]["clips"], found["effort"]["old_clips"]) == (4, 9)


def test_the_best_epoch_has_the_lowest_loss_of_new_and_old_clips_held_out(adapted: Path) -> None:
    lines = tiny.epochs(adapted)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]
    best = min(lines, key=lambda line: line["valid_loss"] + line["old_loss"])
    assert json.loads((adapted / "result.json").read_text())["epochs"] == best["epoch"]


CHANGED: dict[str, Callable[[str], bool]] = {
    "head": lambda name: name.startswith("model/head."),
    "fusion": lambda name: name.startswith(("model/head.", "model/layers.3.")),
    "lora": lambda name: name.startswith("model/head.") or name in LINEAR,
    "all": lambda name: name.startswith("model/"),
}
LINEAR = {f"model/layers.3.blocks.0.{part}.weight" for part in ("attention.qkv", "attention.out", "mlp.1", "mlp.4")}


@pytest.mark.parametrize("choice", CHANGED)
def test_what_was_chosen_learns_and_the_rest_stays(run: Path, user: Path, tmp_path: Path, choice: str) -> None:
    """The last layer of the tiny SFT is the fusion layer. Rows of class c, which the user has no clip of, stay too."""
    before, after = weights(run), weights(adapt(run, user, tmp_path / "new", weights=choice, lr=0.01))
    assert {name: t.shape for name, t in before.items()} == {name: t.shape for name, t in after.items()}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if CHANGED[choice](name) and "attention.qkv.bias" not in name} | (
        {name for name in moved if "attention.qkv.bias" in name} if choice in ("fusion", "all") else set()
    )


def test_a_class_without_new_clips_keeps_its_weights(run: Path, user: Path, tmp_path: Path) -> None:
    before, after = weights(run), weights(adapt(run, user, tmp_path / "new", weights="all", lr=0.01))
    for name in ("model/head.classify.weight", "model/head.classify.bias"):
        assert torch.equal(before[name][2], after[name][2])
        assert (before[name][:2] != after[name][:2]).all()


def test_kept_clips_are_rehearsed(run: Path, user: Path, tmp_path: Path) -> None:
    """After steps that are far too large, those who rehearse lose less."""
    found = replay.load(RunFolder(run), load(run).model)
    assert found is not None
    losses = {}
    for rehearse in (True, False):
        model = load(_last(run, user, tmp_path / str(rehearse), rehearse)).model
        with torch.no_grad():
            logits = model.head(model.through(found.state, found.depth))
        losses[rehearse] = float(torch.nn.functional.cross_entropy(logits, found.labels))
    assert losses[True] < losses[False] - 0.2


def single(user: Path) -> Path:
    """One clip of each of two classes: none can be held out, so the number of epochs is fixed."""
    text = user.read_text().splitlines()
    (user.parent / "single.csv").write_text("\n".join([text[0], text[1], text[3]]) + "\n")
    return user.parent / "single.csv"


def _last(run: Path, user: Path, out: Path, rehearse: bool) -> Path:
    return adapt(run, single(user), out, replay=rehearse, lr=0.1, epochs=4)


def test_without_two_clips_of_a_class_the_epochs_are_few_and_it_says_so(
    run: Path, user: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = _last(run, user, tmp_path / "new", True)
    assert json.loads((out / "result.json").read_text())["epochs"] == 4
    assert "no two clips share a class" in caplog.text


@pytest.mark.slow
def test_no_page_or_card_speaks_of_a_validation_split_that_there_is_not(run: Path, user: Path, tmp_path: Path) -> None:
    """All clips of the user train in the end, and all were held out before: its splits say 4, 0 and 0."""
    new = adapt(run, user, tmp_path / "new")
    text, page = (said.replace("\n", " ") for said in (_card(new), write_report(new).read_text()))
    assert "On the user's clips, each when it was held out; they chose the number of epochs. The main metric" in text
    assert "Every number is measured on clips of the user, each when it was held out;" in page
    assert "<td>loss of clips held out in turns</td>" in page
    for said in (text, page):
        assert "0 validation" not in said
        assert "o validation split chose" not in said
        assert "training split" not in said


def _card(run: Path) -> str:
    return card(run, title="new", source="new", license=None, data=None)


def test_steps_that_help_no_one_are_not_taken(run: Path, user: Path, tmp_path: Path) -> None:
    new = adapt(run, user, tmp_path / "new", lr=1000.0)
    assert json.loads((new / "result.json").read_text())["epochs"] == 0
    assert all(torch.equal(t, weights(new)[name]) for name, t in weights(run).items())


def test_a_run_that_keeps_no_clips_is_adapted_with_a_warning(
    run: Path, user: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import shutil

    old = shutil.copytree(run, tmp_path / "old")
    RunFolder(old).replay.unlink()
    new = adapt(old, user, tmp_path / "new", epochs=1)
    assert "has no old clips for replay" in caplog.text
    assert json.loads((new / "result.json").read_text())["finetune"]["old"] == {"before": {}, "after": {}}


@pytest.mark.parametrize("choice", ["fusion", "all"])
def test_kept_clips_go_along_while_they_are_right(run: Path, user: Path, tmp_path: Path, choice: str) -> None:
    new = adapt(run, user, tmp_path / "new", weights=choice, epochs=1, lr=0.01)
    assert (replay.load(RunFolder(new), load(new).model) is not None) == (choice == "fusion")


def test_new_classes_come_after_the_others(run: Path, tmp_path: Path) -> None:
    user = write_user(tmp_path / "user", "aayyxx")
    settings = Settings(weights="fusion", lr=0.03)
    new = finetune(run, user, tmp_path / "new", settings=settings, new_classes=True, measured=False)
    assert load(new).labels.classes == ("a", "b", "c", "x", "y")
    grown = weights(new)["model/head.classify.weight"]
    assert torch.equal(grown[1:3], weights(run)["model/head.classify.weight"][1:3])
    assert json.loads((new / "result.json").read_text())["valid"]["top1"] >= 0.5


def test_an_unknown_class_is_refused_unless_it_is_said_to_be_new(run: Path, tmp_path: Path) -> None:
    user = write_user(tmp_path / "user", "aabbxx")
    with pytest.raises(ValueError, match=r"clip 'user4': unknown class 'x'.*--new-classes"):
        adapt(run, user, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_test_of_clips_that_are_adapted_to_is_refused(run: Path, user: Path, tmp_path: Path) -> None:
    test = write_user(tmp_path / "test", "abab", seed=1)
    for name in ("3-sound.npy", "1-rgb.npy"):
        (test.parent / name).write_bytes((user.parent / name).read_bytes())
    with pytest.raises(
        ValueError, match=r"user.csv: 2 of 4 clips are in .*user.csv too, such as user1; the test needs"
    ):
        finetune(run, user, tmp_path / "new", test=test, measured=False)
    assert not (tmp_path / "new").exists()


def test_a_new_class_needs_two_clips(run: Path, tmp_path: Path) -> None:
    user = write_user(tmp_path / "user", "aabbx")
    with pytest.raises(ValueError, match="new class 'x' has 1 usable clip; it needs 2"):
        finetune(run, user, tmp_path / "new", new_classes=True)


def test_one_bad_clip_costs_one_clip(run: Path, tmp_path: Path) -> None:
    user = write_user(tmp_path / "user", "aabbb")
    (user.parent / "4-rgb.npy").write_bytes(b"broken")
    (user.parent / "4-sound.npy").unlink()
    new = adapt(run, user, tmp_path / "new", epochs=1)
    assert {line["id"] for line in tiny.skipped(new)} == {"user4"}
    assert json.loads((new / "result.json").read_text())["splits"]["train"] == 4


def test_the_original_cannot_be_written_over(run: Path, user: Path, tmp_path: Path) -> None:
    for out in (run, run / "new", run.parent, tmp_path / ".." / run.parent.name / "run"):
        with pytest.raises((ValueError, FileExistsError), match=r"must not contain each other|not empty"):
            adapt(run, user, out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        adapt(run, user, tmp_path / "full")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"weights": "heads"}, "unknown weights 'heads'; did you mean 'head'"),
        ({"rank": 0}, "rank is 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lr": 1e39}, "lr is 1e\\+39; expected a number above 0, below"),
        ({"rank": 10**9}, "rank is 1000000000; expected 1 or more, below"),
        ({"epochs": 0}, "epochs is 0"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**wrong)


def test_a_manifest_without_the_models_columns_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "user.csv").write_text("id,picture,label\none,a.npy,a\n")
    with pytest.raises(ValueError, match="no column is one of rgb, sound"):
        adapt(run, tmp_path / "user.csv", tmp_path / "new")


def test_the_command_line_tells_scores_and_cost(adapted: Path) -> None:
    result = json.loads((adapted / "result.json").read_text())
    said = (adapted.parent / "said.txt").read_text().splitlines()
    assert said[0] == f"4 clips, {result['epochs']} epochs on fusion"
    before, after = (100 * result["finetune"]["test"][when]["top1"] for when in ("before", "after"))
    assert said[3] == f"clips of --test: Top-1 {before:.1f} % -> {after:.1f} %"
    assert f"{result['finetune']['effort']['trained']:,} parameters trained (4 new and 9 old clips)" in said[4]
    assert said[5] == str(adapted)


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A run of a method, the same for all who ask."""
    folder = tmp_path_factory.mktemp("methods")
    manifest = tiny.write_set(folder / "data")

    def of(method: str) -> Path:
        return train(tiny.config(manifest, method, epochs=1), folder / method, root=Path(), resume=True, measured=False)

    return of


@pytest.mark.slow
@pytest.mark.parametrize("method", ["late", "mbt", "tokenfusion", "mult", "locomt", "concat"])
@pytest.mark.parametrize("choice", ["head", "lora", "all"])
def test_every_method_can_be_adapted(
    tmp_path: Path, user: Path, run_of: Callable[[str], Path], method: str, choice: str
) -> None:
    run = run_of(method)
    new = adapt(run, single(user), tmp_path / "new", weights=choice, epochs=2, lr=0.01)  # no fold can vote for none
    assert evaluate(new, split="valid")["clips"] == 4
    assert any(not torch.equal(t, weights(new)[name]) for name, t in weights(run).items())


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multilabel", "heads", "regression"])
def test_every_task_can_be_adapted(tmp_path: Path, task: str) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data", task=task), epochs=1)
    config = tiny.with_data(config, label="verb+noun") if task == "heads" else config
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    user = tiny.write_set(tmp_path / "user", (6, 0, 0), task=task, seed=3)
    new = adapt(run, user, tmp_path / "new", epochs=2, lr=0.01)
    assert evaluate(new, manifest=user)["clips"] == 6
    assert (new / "metrics.jsonl").read_text().count("\n") == 2


@pytest.mark.slow
def test_an_adapted_run_is_explained_like_any_other(adapted: Path) -> None:
    from sparsefuse.explain import explain

    clip = {name: adapted.parent / f"test/0-{name}.npy" for name in tiny.FEATURES}
    assert sum(explain(adapted, clip).shares.values()) == pytest.approx(1)
