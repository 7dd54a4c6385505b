"""The baseline says what scikit-learn says of the same numbers, in every task, and is a run folder like any other."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.flop_counter import FlopCounterMode

import sparsefuse
import tiny
from sparsefuse import metrics
from sparsefuse.baseline import fit as fitting
from sparsefuse.baseline.linear import linear
from sparsefuse.baseline.model import build
from sparsefuse.baseline.trees import forest
from sparsefuse.config import Config, Split, Task
from sparsefuse.cost.count import count
from sparsefuse.data.labels import Labels
from sparsefuse.experiments.refit import refit
from sparsefuse.explain.explanation import explain
from sparsefuse.methods import build as build_any
from sparsefuse.runs import next_steps
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts, Result
from sparsefuse.runs.weights import load_model

pytestmark = pytest.mark.usefixtures("made_up_costs")
X = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
LABELS = {
    "class": Labels("class", ("a", "b", "c", "never")),
    "multilabel": Labels("multilabel", ("a", "b", "never")),
    "heads": Labels("heads", ("v:a", "v:b", "v:c", "n:x", "n:y"), {"v": 3, "n": 2}),
    "regression": Labels("regression"),
}


def answers(task: Task) -> np.ndarray:
    """Labels of X as `Labels.encode` gives them; one class of `class` and `multilabel` never occurs."""
    three = np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])
    if task == "heads":
        return np.stack([three, (X[:, 2] > 0).astype(int)], 1)
    if task == "multilabel":
        return np.stack([X[:, 0] > 0, X[:, 1] > 0.5, np.zeros(60)], 1).astype(np.float32)
    return X[:, 0] * 2 - X[:, 3] if task == "regression" else three


def shares(model: object, rows: np.ndarray, task: Task) -> np.ndarray:
    """scikit-learn's probabilities, column by column as the outputs are."""
    if task == "regression":
        return model.predict(rows)[:, None]
    found = model.predict_proba(rows)
    if task == "multilabel":
        return np.stack([part[:, 1] if part.shape[1] > 1 else np.zeros(len(rows)) for part in found], 1)
    return np.concatenate(found, 1) if task == "heads" else np.pad(found, ((0, 0), (0, 1)))


@pytest.mark.parametrize("task", LABELS)
def test_trees_say_what_scikit_learns_say(task: Task) -> None:
    labels, y = LABELS[task], answers(task)
    grown = forest(X, y, labels, seed=3, balanced=False)
    kind = ExtraTreesRegressor if task == "regression" else ExtraTreesClassifier
    theirs = kind(100, random_state=3, max_features="sqrt", max_leaf_nodes=60)  # grown best leaf first, as ours
    theirs.fit(X, y if task == "regression" else y.astype(int))
    trees = build({"a": 8}, labels.num_outputs, lengths={"a": 1}, **grown.options).head.decide
    trees.load_state_dict({name: torch.from_numpy(array) for name, array in grown.arrays.items()})
    rows = np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
    rows[:5] = X[:5]  # among what it was fitted to, too
    expected = shares(theirs, rows, task)
    with torch.no_grad():
        logits = trees(torch.from_numpy(rows)).double().numpy()
    if task == "regression":
        found = logits
    elif task == "multilabel":
        ratio = np.exp(logits)
        found = (ratio * 1.001 - 0.001) / (1 + ratio)
    else:
        found = np.exp(logits) - 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert trees.comparisons == 100 * max(tree.tree_.max_depth for tree in theirs.estimators_)


@pytest.mark.parametrize("task", LABELS)
def test_linear_layers_say_what_scikit_learns_regressions_say(task: Task) -> None:
    labels, y = LABELS[task], answers(task)
    weight, bias = linear(X, y, labels, 0.1, balanced=False)
    logits = torch.from_numpy(X @ weight.T + bias)
    found = logits if task == "regression" else metrics.probabilities(logits, task, heads=labels.heads)
    if task == "regression":
        expected = Ridge(alpha=10).fit(X, y).predict(X)[:, None]
    else:
        columns = y[:, None] if task == "class" else y
        each = [column for column in columns.T if len(set(column)) > 1]
        parts = [LogisticRegression(C=0.1, max_iter=200).fit(X, column).predict_proba(X) for column in each]
        if task == "multilabel":
            parts = [part[:, 1:] for part in parts]
        expected = np.concatenate(parts, 1)
        expected = expected if task == "heads" else np.pad(expected, ((0, 0), (0, 1)))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_rare_classes_count_more_where_training_balances_them() -> None:
    y = (X[:, 0] > 1.2).astype(int)
    weight, bias = linear(X, y, Labels("class", ("a", "b")), 0.1, balanced=True)
    theirs = LogisticRegression(C=0.1, class_weight="balanced").fit(X, y)
    np.testing.assert_allclose((weight[1] - weight[0])[None], theirs.coef_, atol=1e-5)
    np.testing.assert_allclose([bias[1] - bias[0]], theirs.intercept_, atol=1e-5)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return tiny.config(tiny.write_set(tmp_path_factory.mktemp("set"), (40, 16, 16)), "baseline", epochs=7)


@pytest.fixture(scope="module")
def run(config: Config, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return RunFolder(sparsefuse.train(config, tmp_path_factory.mktemp("runs") / "run", measured=False))


@pytest.mark.slow
def test_a_run_agrees_with_a_pipeline_of_scikit_learn(config: Config, run: RunFolder) -> None:
    """Means of each clip's own tokens aside, nothing of it is ours; one clip of each split has no `rgb`."""
    folder = Path(config.data.manifest).parent
    lines = [line.split(",") for line in Path(config.data.manifest).read_text().splitlines()[1:]]
    model = load_model(run).model
    facts = run.read(ModelFacts)

    def rows(split: str) -> tuple[np.ndarray, np.ndarray]:
        found, truth = [], []
        for _, rgb, sound, label, its in lines:
            if its != split or not rgb:
                continue
            streams = {"rgb": np.load(folder / rgb), "sound": np.load(folder / sound)}
            clip = {name: torch.from_numpy(x)[None] for name, x in streams.items()}
            whole = {name: sparsefuse.Tokens(x, torch.ones(1, x.shape[1]).bool()) for name, x in clip.items()}
            found.append(np.concatenate([model.embed(whole).streams[name].x[0, 0].numpy() for name in clip]))
            truth.append(facts.labels.classes.index(label))
        return np.array(found), np.array(truth)

    (x, y), (valid, answer) = rows("train"), rows("valid")
    scores = {}
    for strength in fitting.STRENGTHS:
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200)).fit(x, y)
        scores[strength] = pipeline.score(valid, answer)
    with (run.predictions).open() as file:
        told = [line.split(",") for line in file.read().splitlines()[1:]]
    assert np.mean([line[1] == line[2] for line in told]) == run.read(Result).test["top1"]
    assert run.read(Result).valid["top1"] >= max(scores.values()) - 1 / 16


@pytest.mark.slow
def test_the_best_on_validation_clips_is_kept(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a strength that forgets all, one that does not, and trees: the second by its loss, or else by top-1."""
    monkeypatch.setattr(fitting, "STRENGTHS", (1e-9, 1.0))
    folder = RunFolder(sparsefuse.train(config, tmp_path / "run", measured=False))
    assert folder.read(Result).valid["top1"] == 1.0
    monkeypatch.setattr(fitting, "STRENGTHS", (1e-9,))
    folder = RunFolder(sparsefuse.train(config, tmp_path / "other", measured=False))
    assert folder.read(ModelFacts).options["trees"] == 100


def test_a_run_predicts_and_says_that_nothing_was_trained(config: Config, run: RunFolder) -> None:
    manifest = Path(config.data.manifest)
    clip = {"sound": manifest.parent / "features/test1-sound.npy"}
    (told,) = [line for line in run.predictions.read_text().splitlines() if line.startswith("test1,")]
    prediction = sparsefuse.load(run.path).predict(clip)
    assert prediction.label == told.split(",")[2]
    assert [path.suffix for path in run.path.iterdir() if path.suffix in (".pkl", ".joblib")] == []
    (epoch,) = run.epochs()
    assert epoch.train_loss == pytest.approx(0.1, abs=0.1)
    assert run.read(Config).train.epochs == run.read(Result).epochs == 1


def test_without_validation_clips_nothing_is_chosen(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path, (12, 0, 3))
    alone = Split(by="group", test_groups=["test"], fractions=(1.0, 0.0, 0.0))
    manifest.write_text(manifest.read_text().replace("split", "group", 1))
    config = tiny.with_data(tiny.config(manifest, "baseline"), split=alone)
    folder = RunFolder(sparsefuse.train(config, tmp_path / "run", measured=False))
    assert folder.read(ModelFacts).options == {"kind": "linear", "strength": 0.01}
    assert folder.read(Result).valid == {}
    for stated, expected in (({"kind": "trees"}, ("trees", 100)), ({"strength": 0.5}, ("strength", 0.5))):
        told = sparsefuse.train(config, tmp_path / expected[0], measured=False, options={"baseline": stated})
        assert RunFolder(told).read(ModelFacts).options[expected[0]] == expected[1]


@pytest.mark.slow
def test_what_was_better_on_validation_clips_is_fitted_to_them_too(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trees stay trees: without validation clips it would be a linear layer."""
    monkeypatch.setattr(fitting, "STRENGTHS", (1e-9,))
    before = RunFolder(sparsefuse.train(config, tmp_path / "run", measured=False))
    last = RunFolder(refit([before], tmp_path / "again", measured=False))
    assert last.read(ModelFacts).options["kind"] == before.read(ModelFacts).options["kind"] == "trees"
    assert last.read(Result).splits["valid"] == 0


@pytest.mark.slow
def test_a_killed_run_is_fitted_again(config: Config, run: RunFolder, tmp_path: Path) -> None:
    """Killed when all but the result is written, and when nothing but the configuration is."""
    whole = json.loads(run.file(Result).read_text())
    folder = RunFolder(tmp_path / "run")
    for lost in ("metrics.jsonl", "model.json", ""):
        sparsefuse.train(config, folder.path, resume=True, measured=False)
        found = json.loads(folder.file(Result).read_text())
        assert {**found, "seconds": 0, "data": 0} == {**whole, "seconds": 0, "data": 0}
        folder.file(Result).unlink()
        if lost:
            (folder.path / lost).unlink()


def test_its_multiply_adds_are_those_of_statistics_and_the_linear_layer() -> None:
    """Per feature and token: the mean, the deviation, two of differences (of pairs), four slopes; 2 x 16 waves of 32
    for every window of the spectrum; and the layer."""
    lengths = {"a": 40, "b": 1}
    model = build_any("baseline", {"a": 3, "b": 5}, 4, lengths=lengths)
    windows = (40 + 31 - 32) // 16 + 1
    embed = 3 * (2 * 40 + 2 * 39 + 4 * 40) + 3 * windows * 32 * 32 + 5
    found = count(model, lengths)
    assert (found.embed, found.layers, found.head) == (embed, 0, 4 * (3 * 17 + 5))
    assert found.parameters == 4 * (3 * 17 + 5) + 4
    clips = {name: torch.randn(1, n, model.features[name]) for name, n in lengths.items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(clips)
    assert counter.get_total_flops() == 2 * found.total


def test_trees_cost_their_comparisons() -> None:
    trees = build_any("baseline", {"a": 3}, 4, lengths={"a": 1}, trees=7, leaves=9, depth=5)
    found = count(trees, {"a": 1})
    assert (found.embed, found.head) == (3, 35)
    assert found.parameters == 7 * (9 * 4 + 4 * 8)


def test_trees_that_lead_nowhere_are_refused() -> None:
    model = build_any("baseline", {"a": 3}, 4, lengths={"a": 1}, trees=1, leaves=3, depth=2)
    for name, value, most in (("feature", 3, 2), ("below", 5, 4), ("above", -1, 4)):
        weights = model.state_dict()
        weights[f"head.decide.{name}"] = torch.full((1, 2), value, dtype=torch.int32)
        with pytest.raises(ValueError, match=f"trees: {name} is {value} to {value}; expected 0 to {most}"):
            model.load_state_dict(weights)
        model = build_any("baseline", {"a": 3}, 4, lengths={"a": 1}, trees=1, leaves=3, depth=2)
    with pytest.raises(ValueError, match="trees of 3 leaves have depth 1000000000; expected 1 to 2"):
        build_any("baseline", {"a": 3}, 4, trees=1, leaves=3, depth=10**9)


def test_options_of_the_baseline_say_its_modalities_and_how_it_is_fitted(config: Config) -> None:
    told = "unknown option of baseline 'trees'. available: kind, modalities, strength"
    with pytest.raises(ValueError, match=told):
        sparsefuse.train(config, "x", options={"baseline": {"trees": 3}})


def test_the_baseline_has_no_attention_to_explain(config: Config, run: RunFolder) -> None:
    clip = {"sound": Path(config.data.manifest).parent / "features/test1-sound.npy"}
    with pytest.raises(ValueError, match="no attention to trace"):
        explain(run.path, clip)
    with mock.patch.object(next_steps, "find_spec", return_value=None):  # no extra is installed
        assert [line.split()[1] for line in next_steps.next_steps(run.path)] == ["predict", "eval"]


@pytest.mark.slow
@pytest.mark.parametrize("strengths", [(1.0,), (1e-9,)], ids=["linear", "trees"])
def test_it_is_exported_for_any_batch_and_any_lengths(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strengths: tuple[float, ...]
) -> None:
    """`export` compares the answers with the run's."""
    monkeypatch.setattr(fitting, "STRENGTHS", strengths)
    folder = sparsefuse.train(config, tmp_path / "run", measured=False)
    assert sparsefuse.export(folder).file.is_file()
