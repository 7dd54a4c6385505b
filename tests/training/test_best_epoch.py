"""Any score of the validation split chooses the epoch whose weights are kept."""

import json
from pathlib import Path

import pytest
import torch

import tiny
from sparsefuse.config import Config, Split
from sparsefuse.files import checkpoint
from sparsefuse.report.page import write_report
from sparsefuse.training.train import _Run, train

SCORES = {
    "loss": [0.9, 0.5, 0.7, 0.6],
    "top1": [0.1, 0.2, 0.4, 0.4],
    "map": [0.1, 0.2, 0.3, 0.5],
    "mae": [2.0, 3.0, 1.0, 1.5],
    "corr": [0.5, -1.0, 0.2, 0.1],
    "top1_verb": [0.3, 0.1, 0.2, 0.3],
}
CHOSEN = {"loss": 2, "top1": 3, "map": 4, "mae": 3, "corr": 1, "top1_verb": 1}


def config_of(folder: Path, task: str, **spec) -> Config:
    config = tiny.config(tiny.write_set(folder, task=task), **spec)
    return tiny.with_data(config, label="verb+noun") if task == "heads" else config


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation scores by epoch, from the epoch that is under way."""
    epoch = _Run._epoch

    def noted(self: _Run, at, progress):
        self.under_way = at.epoch
        return epoch(self, at, progress)

    monkeypatch.setattr(_Run, "_epoch", noted)
    scores = lambda self: {name: values[self.under_way] for name, values in SCORES.items()}  # noqa: E731
    monkeypatch.setattr(_Run, "valid_scores", scores)


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize("best", CHOSEN)
def test_the_first_epoch_with_the_best_score_is_kept_though_the_run_was_stopped(tmp_path: Path, best: str) -> None:
    task = {"mae": "regression", "corr": "regression", "top1_verb": "heads"}.get(best, "class")
    config = config_of(tmp_path / "data", task, epochs=4, best=best)
    run, stops = tmp_path / "run", iter([False, False, True, False])
    train(config, run, root=Path(), measured=False, stop=lambda _: next(stops))  # after the third epoch
    weights = checkpoint.load(run / "model.safetensors")
    at_three = CHOSEN[best] if CHOSEN[best] < 4 else 3
    assert weights.facts == {"epoch": at_three, f"valid_{best}": SCORES[best][at_three - 1]}
    train(config, run, root=Path(), measured=False, resume=True)
    assert json.loads((run / "result.json").read_text())["best_epoch"] == CHOSEN[best]
    kept = checkpoint.load(run / "model.safetensors")
    assert kept.facts == {"epoch": CHOSEN[best], f"valid_{best}": SCORES[best][CHOSEN[best] - 1]}
    same = all(torch.equal(tensor, kept.tensors[name]) for name, tensor in weights.tensors.items())
    assert same == (at_three == CHOSEN[best])


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize(
    ("best", "over", "epoch", "score"),
    [("loss", 2, 3, 0.6), ("top1", 3, 4, 1 / 3), ("last", 1, 4, 0.6), ("last", 2, 4, 0.65)],
)
def test_a_mean_over_epochs_or_the_last_one_chooses_though_the_run_was_stopped(
    tmp_path: Path, best: str, over: int, epoch: int, score: float
) -> None:
    """By hand: the loss over two epochs is .9, .7, .6, .65; top-1 over three is .1, .15, .233, .333."""
    config = config_of(tmp_path / "data", "class", epochs=4, best=best, best_over=over)
    run, stops = tmp_path / "run", iter([False, True, False, False])
    train(config, run, root=Path(), measured=False, stop=lambda _: next(stops))
    train(config, run, root=Path(), measured=False, resume=True)
    assert json.loads((run / "result.json").read_text())["best_epoch"] == epoch
    facts = checkpoint.load(run / "model.safetensors").facts
    assert facts == {"epoch": epoch, f"valid_{'top1' if best == 'top1' else 'loss'}": pytest.approx(score)}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"best": "macro_f1"}, "macro_f1 of the validation split<"),
        ({"best_over": 5}, "loss of the validation split, mean over 5 epochs<"),
        ({"best": "last"}, "none, the last one is kept<"),
    ],
)
def test_the_report_names_what_chose_the_epoch(tmp_path: Path, spec: dict, told: str) -> None:
    config = config_of(tmp_path / "data", "class", epochs=1, **spec)
    page = write_report(train(config, tmp_path / "run", root=Path(), measured=False)).read_text()
    assert f"epochs chosen by</th><td>{told}" in page


@pytest.mark.parametrize(
    ("task", "best", "message"),
    [
        ("class", "macro-f1", r"train\.best: unknown score of task class 'macro-f1'; did you mean 'macro_f1'\?"),
        ("class", "top5", "available: loss, macro_f1, map, top1$"),  # of three classes
        ("heads", "map", "available: loss, top1, top1_noun, top1_verb, top5$"),
        ("regression", "top1", "unknown score of task regression 'top1'. available: corr, loss, mae"),
    ],
)
def test_a_score_that_the_task_lacks_is_refused_before_training(
    tmp_path: Path, task: str, best: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(config_of(tmp_path / "data", task, best=best), tmp_path / "run", root=Path())
    assert not (tmp_path / "run/config.json").exists()


def test_without_validation_clips_only_the_loss_chooses(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), best="top1")
    config = tiny.with_data(config, split=Split(by="stratified", fractions=(0.8, 0.0, 0.2)))
    with pytest.raises(ValueError, match=r"train\.best is top1, a score of the validation split, and that is empty"):
        train(config, tmp_path / "run", root=Path())
