"""The estimator: it learns from data in every form, and does what scikit-learn's do."""

import copy
import json
import logging
import os
import pickle
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

import sparsefuse
import tiny
from command import call
from films import write_films
from sparsefuse import Classifier
from sparsefuse.config import Config
from sparsefuse.data.clips import load_clips
from sparsefuse.data.formats import folders
from sparsefuse.explain import Explanation
from sparsefuse.features.extract import extract
from sparsefuse.files.rows import read_table, write_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.methods import methods, option_names
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Choice, Result

QUICK = {"dim": 10, "num_heads": 2, "fusion_depth": 1, "epochs": 4, "lr": 0.02, "batch_size": 8, "mixup_alpha": 0.0}
WORDS = ["clap", "sing", "talk"]


def quick(method: str = "sft", **options: Any) -> Classifier:
    keep = {"keep": 2} if method == "sft" else {}
    return Classifier(method, **{"device": "cpu", **QUICK, **keep, **options})


def clips(count: int, seed: int = 0) -> dict[str, list[Any]]:
    """Of two streams that both show the class, which is the place of the clip modulo three."""
    rng = np.random.default_rng(seed)
    return {
        "rgb": [rng.normal(size=(rng.integers(3, 6), 5)) + np.eye(5)[i % 3] * 3 for i in range(count)],
        "sound": [rng.normal(size=(rng.integers(4, 9), 4)) - np.eye(4)[i % 3] * 3 for i in range(count)],
        "label": [WORDS[i % 3] for i in range(count)],
    }


def frame(count: int, seed: int = 0, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({**clips(count, seed), **columns})


def relabelled(label: Any) -> dict[str, Any]:
    return {**clips(36), "label": [label(i) for i in range(36)]}


@pytest.fixture(scope="module")
def fitted() -> Classifier:
    return quick(epochs=8).fit(frame(60))


def test_a_frame_of_arrays_is_learnt(fitted: Classifier) -> None:
    test = frame(30, seed=1)
    assert fitted.score(test) > 0.9
    assert fitted.score(test, test["label"]) == fitted.score(test)
    found, shares = fitted.predict(test), fitted.predict_proba(test)
    assert fitted.classes_.tolist() == WORDS
    assert shares.shape == (30, 3)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert found.tolist() == fitted.classes_[shares.argmax(1)].tolist()
    assert fitted.score(test) == np.mean(found == test["label"])


def test_predictions_are_those_of_the_run_folder(fitted: Classifier) -> None:
    test = clips(4, seed=2)
    predictor = sparsefuse.load(fitted.run_)
    for i, row in enumerate(fitted.predict_proba(test)):
        alone = predictor.predict({"rgb": test["rgb"][i], "sound": test["sound"][i]})
        assert dict(zip(WORDS, row.tolist(), strict=True)) == pytest.approx(alone.probabilities, abs=1e-5)


def test_probabilities_stand_in_the_order_of_sorted_classes() -> None:
    """As scikit-learn's metrics expect; the run has 9 before 10, and numbers before words."""
    clf = quick().fit(relabelled(lambda i: ["9", "10", "b"][i % 3]))
    assert clf.predictor_.labels.classes == ("9", "10", "b")
    assert clf.classes_.tolist() == ["10", "9", "b"]
    test = clips(6)
    assert clf.predict(test).tolist() == clf.classes_[clf.predict_proba(test).argmax(1)].tolist()
    assert len(set(clf.predict(test))) > 1


def test_numbers_with_fractions_are_regression() -> None:
    clf = quick().fit(relabelled(lambda i: i % 3 + 0.5))
    test, truth = clips(9), [i % 3 + 0.5 for i in range(9)]
    found = clf.predict(test)
    assert found.dtype == float
    expected = 1 - sum((t - p) ** 2 for t, p in zip(truth, found, strict=True)) / sum((t - 1.5) ** 2 for t in truth)
    assert clf.score(test, truth) == pytest.approx(expected, abs=1e-9)
    assert not hasattr(clf, "classes_")
    with pytest.raises(AttributeError, match="predict_proba is for classes"):
        clf.predict_proba(test)


def test_lists_are_several_classes() -> None:
    clf = quick().fit(relabelled(lambda i: [["a"], ["a", "b"], ["b", "c"]][i % 3]))
    test, truth = clips(9), [[["a"], ["a", "b"], ["b", "c"]][i % 3] for i in range(9)]
    found = clf.predict(test)
    assert clf.classes_.tolist() == ["a", "b", "c"]
    assert all(isinstance(each, list) for each in found)
    assert clf.score(test, truth) == np.mean([a == b for a, b in zip(found, truth, strict=True)])
    assert clf.score(test, [each[::-1] for each in truth]) == clf.score(test, truth)
    assert clf.predict_proba(test).shape == (9, 3)


def test_a_matrix_of_ones_comes_back_as_one() -> None:
    data = clips(36)
    del data["label"]
    matrix = np.eye(4, dtype=int)[np.arange(36) % 3]
    clf = quick().fit(data, matrix)
    found, shares = clf.predict(data), clf.predict_proba(data)
    assert found.shape == shares.shape == (36, 4)
    assert not shares[:, 3].any(), "no clip had the class"
    assert clf.score(data, matrix) == np.mean((found == matrix).all(1)) > 0


def test_several_columns_are_heads() -> None:
    data = clips(36) | {"verb": [["put", "take", "put"][i % 3] for i in range(36)], "noun": [i % 2 for i in range(36)]}
    del data["label"]
    clf = quick(epochs=1).fit(data, label="verb+noun")
    assert [each.tolist() for each in clf.classes_] == [["put", "take"], [0, 1]]
    found = clf.predict(data)
    assert found.shape == (36, 2)
    assert set(found[:, 1]) <= {0, 1}
    verb, noun = clf.predict_proba(data)
    assert verb.shape == noun.shape == (36, 2)
    assert found[:, 0].tolist() == clf.classes_[0][verb.argmax(1)].tolist()
    both = [(v, n) == tuple(row) for v, n, row in zip(data["verb"], data["noun"], found, strict=True)]
    assert clf.score(data) == np.mean(both)


def test_x_and_y_may_stand_apart() -> None:
    x, y = np.stack([np.full((3, 2), i % 2 * 4.0) + np.eye(3, 2) * i / 40 for i in range(24)]), np.arange(24) % 2
    clf = quick(epochs=6).fit(x, y)
    assert clf.score(x, y) == 1
    assert clf.n_features_in_ == 2
    with pytest.raises(ValueError, match=r"X has 2 axes, 3 in fit.* one clip is X\[None\]"):
        clf.predict(x[0])
    with pytest.raises(ValueError, match=r"X has 4 axes, 3 in fit.* X\.reshape\(\*X\.shape\[:2\], -1\)$"):
        clf.predict(x[..., None])
    assert clf.predict(x[..., None].reshape(*x[..., None].shape[:2], -1)).shape == (24,)
    with pytest.raises(ValueError, match=r"^X is dict; fit was given an array \(n, N, F\), or a list of arrays"):
        clf.predict({"x": [x[0]]})
    assert clf.predict(x[:1]).shape == (1,)


def test_clips_for_validation_are_those(tmp_path: Path) -> None:
    more = clips(6, seed=3)
    quick(epochs=1).fit({k: v for k, v in clips(12).items() if k != "label"}, clips(12)["label"], valid=(
        {k: v for k, v in more.items() if k != "label"}, more["label"]), out=tmp_path / "b")  # fmt: skip
    assert json.loads((tmp_path / "b" / "result.json").read_text())["splits"] == {"train": 12, "valid": 6, "test": 0}
    quick(epochs=1).fit(clips(12), valid=0, out=tmp_path / "c")
    assert json.loads((tmp_path / "c" / "result.json").read_text())["splits"] == {"train": 12, "valid": 0, "test": 0}


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    given = {"epochs": np.int64(1), "keep": np.int32(2), "seed": np.uint8(3), "lr": np.float32(0.5)}
    clf = quick(**given).fit(clips(12), valid=np.float32(0.25))
    assert RunFolder(clf.run_).read(Result).splits == {"train": 9, "valid": 3, "test": 0}
    options = Classifier.load(clf.save(tmp_path / "run")).get_params()
    assert {name: options[name] for name in given} == given
    with pytest.raises(ValueError, match=r"valid is 2\.0; expected a share of the clips, 0 to below 1"):
        quick().fit(clips(12), valid=np.float64(2))


def test_a_group_is_in_one_split(tmp_path: Path) -> None:
    people = [f"p{i // 6}" for i in range(36)]
    clf = quick(epochs=1).fit(frame(36, person=people), group="person")
    splits = load_clips(RunFolder(clf.run_).read(Config).data, Path()).splits
    train, valid = ({row.group for row in splits[name].rows} for name in ("train", "valid"))
    assert valid
    assert not train & valid
    manifest = Path(RunFolder(clf.run_).read(Config).data.manifest)
    table = [
        {"person" if name == "group" else name: cell for name, cell in row.items()} for row in read_table(manifest).rows
    ]
    write_table(manifest.with_name("people.csv"), table)
    other = quick(epochs=1).fit(manifest.with_name("people.csv"), group="person")
    again = load_clips(RunFolder(other.run_).read(Config).data, Path()).splits
    assert {row.group for row in again["valid"].rows} == valid, "of a manifest too"
    run = clf.run_
    assert (run / "result.json").is_file()
    del clf
    assert not run.exists(), "a temporary run is gone with its object"


def test_a_run_that_is_named_is_kept_and_not_trained_again(tmp_path: Path, monkeypatch) -> None:
    data = clips(18)
    first = quick(epochs=1).fit(data, out=tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.*")}
    again = quick(epochs=1).fit(data, out=tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.*")} == before
    (tmp_path / "run" / "classifier.json").write_text("{")
    quick(epochs=1).fit(data, out=tmp_path / "run")
    assert Classifier.load(tmp_path / "run").classes_.tolist() == WORDS
    np.testing.assert_array_equal(again.predict_proba(data), first.predict_proba(data))
    assert len(list((tmp_path / "run" / "data").iterdir())) == 1, "its data were not written again"
    with pytest.raises(ValueError, match=r"was started with data\.manifest"):
        quick(epochs=1).fit(clips(18, seed=1), out=tmp_path / "run")
    monkeypatch.setattr(
        "sparsefuse.classifier.estimator.read_table", lambda _: pytest.fail("nothing is read, or extracted")
    )
    with pytest.raises(ValueError, match=r"was started with lr=0.02, not 0.01"):
        quick(epochs=1, lr=0.01).fit(data, out=tmp_path / "run")


def test_a_saved_run_is_complete(fitted: Classifier, tmp_path: Path, monkeypatch, capsys) -> None:
    """Predicted by `load` and by the command, scored and exported with the data that went with it."""
    clf = quick(epochs=1).fit(frame(18))
    saved, test = clf.save(tmp_path / "saved"), clips(1, seed=4)
    expected = dict(zip(WORDS, clf.predict_proba(test)[0].tolist(), strict=True))
    del clf
    clip = {"rgb": test["rgb"][0], "sound": test["sound"][0]}
    assert sparsefuse.load(saved).predict(clip).probabilities == pytest.approx(expected, abs=1e-5)
    assert call(monkeypatch, "eval", saved, "--split", "valid") == 0
    assert "clips  3" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match="is not empty"):
        fitted.save(saved)


def test_cost_is_measured_once(fitted: Classifier, made_up_costs) -> None:
    cost = fitted.cost()
    assert cost.gmacs > 0
    assert cost.latency_ms is not None
    assert fitted.cost() == cost


def test_explain_takes_a_clip_in_every_form(fitted: Classifier) -> None:
    data = frame(2)
    found = fitted.explain(data.iloc[0])
    assert isinstance(found, Explanation)
    assert set(found.shares) == {"rgb", "sound"}
    assert fitted.explain({"rgb": data["rgb"][0], "sound": data["sound"][0]}).shares == pytest.approx(found.shares)


@pytest.mark.slow
def test_sentences_are_a_stream() -> None:
    words = ["a lovely day", "an awful day"]
    said, label = [f"{words[i % 2]}, {i}" for i in range(30)], ["good" if i % 2 == 0 else "bad" for i in range(30)]
    clf = quick(epochs=10).fit(said, label)
    assert clf.predict(["this is lovely", "awful"]).tolist() == ["good", "bad"]
    assert clf.explain("lovely").prediction.label == "good"
    assert clf.predict("awful").tolist() == ["bad"]
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder 'awful\.csv'"):
        clf.predict("awful.csv")
    table = pd.DataFrame({"said": said, "rgb": [np.ones((2, 3))] * 30, "label": label})
    mixed = quick(epochs=1).fit(table)
    assert set(mixed.predictor_.model.modalities) == {"said", "rgb"}
    assert mixed.predict(table.iloc[:3]).shape == (3,)


def test_a_manifest_is_read_where_it_lies(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path)
    clf = quick(epochs=1).fit(manifest)
    assert Path(RunFolder(clf.run_).read(Config).data.manifest) == manifest
    assert clf.predict(manifest).shape == (17,)
    assert clf.score(manifest) == clf.score(pd.read_csv(manifest).assign(
        rgb=lambda x: [str(tmp_path / f) if isinstance(f, str) else None for f in x.rgb],
        sound=lambda x: [str(tmp_path / f) for f in x.sound]))  # fmt: skip
    with pytest.raises(ValueError, match="are columns of a manifest"):
        quick().fit(manifest, WORDS)
    with pytest.raises(ValueError, match=r"manifest\.csv: group: unknown column 'person'"):
        quick().fit(manifest, group="person")


def test_figures_of_a_manifest_may_be_scored_as_numbers(tmp_path: Path) -> None:
    given = {**clips(36), "label": [str(i % 3) for i in range(36)]}
    manifest = tmp_path / "manifest.csv"
    for name in ("rgb", "sound"):
        np.savez(tmp_path / f"{name}.npz", **{str(i): x for i, x in enumerate(given[name])})
    rows = [{"id": f"c{i}", "rgb": f"rgb.npz#{i}", "label": i % 3} for i in range(36)]
    write_table(manifest, rows)
    clf = quick(epochs=6).fit(manifest)
    assert clf.classes_.tolist() == ["0", "1", "2"]
    test, truth = {"rgb": given["rgb"]}, [i % 3 for i in range(36)]
    expected = np.mean(clf.predict(test) == given["label"])
    assert expected > 0.5
    assert clf.score(test, truth) == clf.score(test, [float(t) for t in truth]) == expected
    assert clf.score(test, given["label"]) == expected
    assert Classifier.load(clf.save(tmp_path / "run")).score(test, np.array(truth, float)) == expected


def test_a_folder_per_class_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = clips(18)
    for i, (x, label) in enumerate(zip(data["rgb"], data["label"], strict=True)):
        (tmp_path / label).mkdir(exist_ok=True)
        np.save(tmp_path / label / f"{i}.npy", x)
    clf = quick(epochs=1).fit(tmp_path)
    assert clf.classes_.tolist() == WORDS
    assert clf.predict(tmp_path).shape == (18,)
    assert clf.predict(tmp_path / "clap" / "0.npy").shape == (1,)
    assert clf.predict([str(tmp_path / "clap" / "0.npy"), tmp_path / "sing" / "1.npy"]).shape == (2,)
    assert clf.predict(pd.DataFrame({"features": [data["rgb"][0]]})).shape == (1,)
    assert set(clf.explain(str(tmp_path / "clap" / "0.npy")).shares) == {"features"}
    listed, listing = [], folders.prepare
    monkeypatch.setattr(folders, "prepare", lambda *given: listed.append(given) or listing(*given))
    assert clf.score(tmp_path) == np.mean([clf.predict(tmp_path) == sorted(data["label"])])
    assert len(listed) == 2, "a folder is listed once to be scored, and once to be predicted"


@pytest.mark.slow
def test_films_are_learnt_from_a_column_of_any_name(tmp_path: Path) -> None:
    write_films(tmp_path)
    paths = sorted((tmp_path / "films").rglob("*.mp4"))
    films = pd.DataFrame({"clip": paths, "label": [path.parent.name for path in paths]})
    clf = quick().fit(films)
    assert clf.predict(films).shape == (24,)
    assert clf.predict(paths).tolist() == clf.predict(films).tolist()
    saved = clf.save(tmp_path / "run")
    new = tmp_path / "new.mp4"
    assert sparsefuse.load(saved).predict(new).label == clf.predict(new)[0] == clf.explain(new).prediction.label


def test_a_stream_may_be_missing_from_a_clip_but_not_from_the_table(fitted: Classifier) -> None:
    test = clips(3)
    test["rgb"][1] = None
    assert fitted.predict(test).shape == (3,)
    del test["rgb"]
    with pytest.raises(ValueError, match=r"X has no column 'rgb', which the model was fitted to\. columns: label, s"):
        fitted.predict(test)
    with pytest.raises(ValueError, match=r"^X has no column 'rgb', which .* to; rename 'rgbd'\? columns: rgbd, sound$"):
        fitted.predict({"rgbd": clips(3)["rgb"], "sound": test["sound"]})


def test_a_file_that_cannot_be_read_is_named(fitted: Classifier, tmp_path: Path, caplog) -> None:
    table = {"rgb": [np.ones((2, 5)), None], "sound": [None, None]}
    with pytest.raises(Unusable, match="clip 1: rgb, sound: not given"):
        fitted.predict(table)
    gone = {"rgb": [str(tmp_path / "gone.npy")], "sound": [np.ones((2, 4))]}
    with caplog.at_level(logging.WARNING):
        assert fitted.predict(gone).shape == (1,)
    assert "1 stream left out, which cannot be read; the first: clip 0: rgb: " in caplog.text


def test_a_damaged_clip_is_left_out_of_the_score(tmp_path: Path, caplog) -> None:
    data = clips(18)
    for i, (x, label) in enumerate(zip(data["rgb"], data["label"], strict=True)):
        (tmp_path / label).mkdir(exist_ok=True)
        np.save(tmp_path / label / f"{i:02d}.npy", x)
    clf = quick(epochs=1).fit(tmp_path)
    found = clf.predict(tmp_path)  # in the order of the classes, six of each
    truth = np.repeat(WORDS, 6)
    (tmp_path / "clap" / "03.npy").write_bytes(b"x")  # the second
    (tmp_path / "talk" / "17.npy").write_bytes(b"")
    with pytest.raises(Unusable, match=r"^clip 1: .*03\.npy.*; leave it out: .* \(`sparsefuse predict` goes on with"):
        clf.predict(tmp_path)
    caplog.clear()
    left = [i for i in range(18) if i not in (1, 17)]
    paths = [str(path) for path in sorted(tmp_path.glob("*/*.npy"))]
    table = pd.DataFrame({"features": paths, "label": truth})
    assert clf.score(tmp_path) == clf.score(table) == clf.score(paths, truth) == np.mean((found == truth)[left])
    (first, *more) = [record.getMessage() for record in caplog.records]
    assert re.match(r"2 clips of 18 left out of the score, which cannot be read; the first: clip 1: .*03\.npy", first)
    assert len(more) == 2, "one for each score"
    with pytest.raises(ValueError, match=r"^none of 2 clips can be read; the first: clip 0: .*03\.npy"):
        clf.score(table.iloc[[1, 17]])


WRONG = {
    "no label": ({"x": [np.ones((2, 3))], "lable": ["a"]}, {}, "column 'label'; did you mean 'lable'.*by label="),
    "no group": (clips(6) | {"persona": list("aabbcc")}, {"group": "person"}, "'person'; did you mean 'persona'"),
    "no y": (np.ones((4, 2, 3)), {}, "requires y to be passed, but the target y is None"),
    "y too short": (np.ones((4, 2, 3)), {"y": [1, 2]}, "X has 4 clips, but y has 2 labels; expected one label a"),
    "nan": ({"x": [np.full((2, 3), np.nan)], "label": ["a"]}, {}, "'x' of clip 0: all 6 values are NaN; give None"),
    "one class": ({**clips(9), "label": ["a"] * 9}, {}, "all 8 training labels are 'a', those of clips held out"),
    "a missing label": ({**clips(2), "label": ["a", None]}, {}, "'label' of clip 1 is missing"),
    "valid lacks a column": (
        clips(6), {"valid": {"rgb": [np.ones((2, 5))], "label": ["clap"]}}, "valid: has no column 'sound', which X",
    ),
    "too few": (clips(2), {}, "valid would be empty"),
    "no share": (clips(9), {"valid": 2}, "valid is 2; expected a share of the clips, 0 to below 1, or clips"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "options", "message"), WRONG.values(), ids=WRONG)
def test_what_a_newcomer_gets_wrong_is_said(given, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick().fit(given, **options)


@pytest.mark.parametrize("what", ["predict", "predict_proba", "score", "explain", "save", "cost"])
def test_nothing_works_before_fit(what: str) -> None:
    with pytest.raises(NotFittedError, match="not fitted yet; call fit first"):
        getattr(quick(), what)(*[clips(1)] * (what != "cost"))


def test_another_width_is_an_error(fitted: Classifier) -> None:
    with pytest.raises(ValueError, match=r"rgb: X has 4 features, but Classifier is expecting 5 features .*\(N, 4\)$"):
        fitted.predict({"rgb": [np.ones((2, 4))], "sound": [np.ones((2, 4))]})
    with pytest.raises(
        ValueError, match=r"this one \(N, 1\)\. A vector is N tokens of one feature; .* give x\[None\]$"
    ):
        fitted.predict({"rgb": [np.ones(5)], "sound": [np.ones((2, 4))]})
    two = pd.DataFrame({"verb": ["a", "b"], "noun": ["c", "d"]})
    with pytest.raises(ValueError, match="X has 3 clips, but column 'verb' of y has 2 labels"):
        quick().fit(clips(3), two)


def test_a_path_that_names_no_clips_says_what_is_there(fitted: Classifier, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    for use in (quick().fit, fitted.predict, fitted.score):
        with pytest.raises(FileNotFoundError, match=r"no file or folder '.*film'; did you mean .*films\?; expected a "):
            use(tmp_path / "film")
        with pytest.raises(FileNotFoundError, match=r"is the folder of a run, not of clips; .*Classifier\.load\('"):
            use(fitted.run_)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kep", "unknown argument 'kep'; did you mean 'keep'"),
        ("epoch", "unknown argument 'epoch'; did you mean 'epochs'"),
        ("learning_rate", "unknown argument 'learning_rate'; did you mean 'lr'"),
        ("manifest", "unknown argument 'manifest'"),
    ],
)
def test_an_unknown_argument_is_an_error_with_the_nearest_match(name: str, message: str) -> None:
    for make in (Classifier, Classifier().set_params):
        with pytest.raises(ValueError, match=message):
            make(**{name: 3})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "late", "keep": 3}, "unknown option of late 'keep'"),
        ({"method": "stf", "keep": 3}, "unknown method 'stf'; did you mean 'sft'"),
        ({"gmacs": 1}, "it needs method='auto'"),
        ({"time_limit": "5m"}, "it needs method='auto'"),
    ],
)
def test_what_does_not_go_together_is_an_error_of_fit(arguments: dict[str, Any], message: str) -> None:
    """Not earlier: a search may set one argument after the other."""
    with pytest.raises(ValueError, match=message):
        Classifier(**arguments).fit(clips(3))


def test_a_wrong_value_names_the_argument() -> None:
    with pytest.raises(ValueError, match=r"^epochs is a text; expected a whole number"):
        quick(epochs="many").fit(clips(9))
    with pytest.raises(ValueError, match="unknown task 'clas'; did you mean 'class'"):
        quick(task="clas").fit(clips(9))
    with pytest.raises(ValueError, match=r"no label is a number \(as 'clap'\); use Classifier\(task=\"class\"\)$"):
        quick(task="regression").fit(clips(2))  # of which no split can be drawn either
    for task in ("segment", "translate", "detect"):
        with pytest.raises(ValueError, match=f"task='{task}' is not for a Classifier, which predicts labels of whole"):
            quick(task=task).fit(clips(9))


def test_one_clip_is_predicted_as_a_list_of_it_is(fitted: Classifier) -> None:
    table = frame(3, seed=5)
    expected = list(fitted.predict_proba(table)[0])
    for one in (table.iloc[0], dict(table.iloc[0]), {name: table[name][0] for name in ("rgb", "sound")}):
        assert list(fitted.predict_proba(one)[0]) == pytest.approx(expected, abs=1e-6)
    numbered = {0: [np.full((2, 3), i % 2) for i in range(12)], 1: [np.ones((2, 4))] * 12}
    clf = quick(epochs=1).fit(numbered, ["x", "y"] * 6)
    one = {name: cells[1] for name, cells in numbered.items()}
    np.testing.assert_array_equal(clf.predict_proba(one), clf.predict_proba([one]))
    flat = pd.DataFrame({"a": np.arange(18) % 2 + np.arange(18) / 99, "b": 1.0})
    numbers = quick(epochs=1).fit(flat, ["x", "y"] * 9)
    assert list(numbers.predict_proba(flat.iloc[1])[0]) == pytest.approx(list(numbers.predict_proba(flat[1:2])[0]))


def test_arrays_without_names_are_not_the_columns_of_fit(fitted: Classifier) -> None:
    with pytest.raises(
        ValueError,
        match=r"X is ndarray without names of streams; fit was given rgb, sound; give a .*\{'rgb': \[...\], 'sound",
    ):
        fitted.predict(np.ones((3, 5)))


@pytest.mark.slow
def test_a_list_is_the_only_stream_of_the_model(tmp_path: Path) -> None:
    moods = ["lovely", "awful"]
    table = pd.DataFrame({"text": [f"it was {moods[i % 2]} today {i}" for i in range(30)], "label": moods * 15})
    said = quick().fit(table)
    given = ["a lovely evening", "awful weather"]
    expected = said.predict_proba({"text": given})
    for X in (given, tuple(given), np.array(given), pd.Series(given)):
        np.testing.assert_array_equal(said.predict_proba(X), expected)
    assert said.score(given, moods) == np.mean(said.predict(given) == moods)
    with pytest.raises(ValueError, match="X has a number a clip in text; the model was fitted to arrays, files or"):
        said.predict([1, 2])
    flat = quick(epochs=1).fit(pd.DataFrame({"a": np.arange(18) / 9, "b": 1.0}), WORDS * 6)
    with pytest.raises(ValueError, match=r"fit was given a, b; give a DataFrame with these columns, or \{'a': "):
        flat.predict(np.ones((2, 2)))
    arrays = clips(18)["sound"]
    seen = quick(epochs=1).fit(pd.DataFrame({"acc": arrays, "label": WORDS * 6}))
    np.testing.assert_array_equal(seen.predict_proba(arrays[:2]), seen.predict_proba({"acc": arrays[:2]}))
    np.save(tmp_path / "a.npy", arrays[0].astype(np.float32))
    paths = [str(tmp_path / "a.npy")]
    np.testing.assert_allclose(seen.predict_proba(paths), seen.predict_proba(arrays[:1]), atol=1e-6)
    with pytest.raises(ValueError, match="column 'acc' is one array"):
        seen.predict(arrays[0])


def test_arrays_for_a_stream_that_is_made_of_files_or_texts_are_refused() -> None:
    table = pd.DataFrame({"said": [f"it was fine today {i}" for i in range(12)], "label": ["a", "b"] * 6})
    words = {"extractor": "text", "source": "said", "hashed": 8}
    clf = quick(epochs=1, features={"words": words}).fit(table)
    assert clf.predict(["fine"]).shape == (1,)
    for X in ([np.ones((2, 3))], {"said": [np.ones((2, 3))]}):
        with pytest.raises(ValueError, match=r"^said: X has arrays; fit was given files or texts, of which words is"):
            clf.predict(X)


def test_sentences_for_a_model_that_reads_none_are_refused() -> None:
    seen = quick(epochs=1).fit(pd.DataFrame({"acc": clips(18)["sound"], "label": WORDS * 6}))
    for X in (["a lovely evening", "awful"], {"acc": ["a lovely evening"]}):
        with pytest.raises(
            ValueError, match=r"^acc: X has words \('a lovely evening'\), which the model does not read; "
        ):
            seen.predict(X)


def test_a_list_for_several_streams_is_told_their_names(fitted: Classifier) -> None:
    for X in (["a lovely evening"], pd.Series([np.ones((3, 5))]), [None, np.ones((3, 5))]):
        with pytest.raises(ValueError, match=r"without names of streams; .*, or \{'rgb': \[\.\.\.\], 'sound': \["):
            fitted.predict(X)


def test_a_misspelt_argument_gets_the_nearest_three() -> None:
    with pytest.raises(ValueError) as error:
        Classifier(lern_rate=1)
    assert len(str(error.value)) < 120
    with pytest.raises(ValueError, match="unknown argument 'epoch'; did you mean 'epochs'"):
        Classifier(epoch=1)


def test_no_option_of_a_method_has_the_name_of_a_setting() -> None:
    """Else an argument would mean two things; `modalities` are those that are read, for either."""
    from sparsefuse.runs.arguments import OWN, SETTINGS

    for method in methods():
        assert not {*option_names(method)} & ({*SETTINGS, *OWN} - {"modalities"})


@pytest.mark.slow
def test_auto_keeps_the_method_that_validates_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsefuse.experiments.candidates.METHODS", ("unimodal", "late", "sft"))
    clf = quick("auto", epochs=2, keep=2).fit(clips(24), out=tmp_path)
    choice = RunFolder(clf.run_).read(Choice)
    methods = ("unimodal (rgb)", "unimodal (sound)", "late", "sft")
    assert {one.name for one in choice.candidates} == {*methods, *(f"{method}, small" for method in methods)}
    assert RunFolder(clf.run_).read(Result).name == choice.candidates[0].name
    assert clf.predict(clips(3)).shape == (3,)
    assert not (clf.save(tmp_path / "saved") / "others").exists()
    for folder in (tmp_path, tmp_path / "saved"):  # where `fit` was told to work, too
        assert Classifier.load(folder).predict(clips(3)).tolist() == clf.predict(clips(3)).tolist()
    before = {path: path.stat().st_mtime_ns for path in clf.run_.glob("*")}
    again = quick("auto", epochs=2, keep=2).fit(clips(24), out=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in again.run_.glob("*")} == before
    with pytest.raises(ValueError, match="was started with"):
        quick("auto", epochs=2, keep=2, lr=0.5).fit(clips(24), out=tmp_path)


def test_a_search_of_auto_goes_on_with_the_same_arguments_only(tmp_path: Path, monkeypatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sparsefuse.experiments.candidates.METHODS", ("late", "sft"))
    monkeypatch.setattr("sparsefuse.experiments.auto.Halving.run", stopped)
    with pytest.raises(KeyboardInterrupt):
        quick("auto", epochs=2, gmacs=1).fit(clips(12), out=tmp_path)
    monkeypatch.setattr("sparsefuse.classifier.estimator.read_table", lambda _: pytest.fail("nothing is read"))
    for other, message in {
        ("epochs", 3): "was started with epochs=2, not 3",
        ("recipe", "small"): "was started with the recipe='auto', not 'small'",
        ("lr", 0.5): "was started with lr=0.02, not 0.5",
        ("gmacs", 0.5): r"was started with gmacs=1(\.0)?, not 0\.5",
        ("gmacs", 0): "gmacs is 0; expected more than 0",
    }.items():
        with pytest.raises(ValueError, match=message):
            quick("auto", **{"epochs": 2, "gmacs": 1, other[0]: other[1]}).fit(clips(12), out=tmp_path)


@pytest.mark.slow
def test_auto_within_a_budget_may_be_a_stream_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which only those columns count."""
    monkeypatch.setattr("sparsefuse.experiments.candidates.METHODS", ("unimodal", "late", "sft"))
    with pytest.raises(ValueError, match=r"the cheapest method, .*, costs") as error:
        quick("auto", epochs=1, gmacs=1e-9).fit(clips(24))
    limit = float(str(error.value).split("costs ")[1].split()[0]) * 1.01
    clf = quick("auto", epochs=1, gmacs=limit).fit(clips(24))
    first, *others = RunFolder(clf.run_).read(Choice).candidates
    assert (first.name.split()[0], first.epochs) == ("unimodal", 1)
    assert RunFolder(clf.run_).read(Result).name == first.name
    assert "late" in {one.name for one in others if one.left_out.startswith("over the budget: ")}
    assert clf.predict(clips(3)).shape == (3,)


def test_clone_and_parameters_are_scikit_learns() -> None:
    clf = quick(keep=3)
    other = clone(clf)
    assert other.get_params() == clf.get_params()
    assert other.set_params(keep=4).keep == 4
    assert clf.keep == 3
    assert repr(Classifier("sft", keep=3)) == "Classifier('sft', keep=3)"
    assert is_classifier(clf)


@pytest.mark.slow
def test_grid_search_over_keep() -> None:
    data = frame(24)
    search = GridSearchCV(quick(epochs=1), {"keep": [1, 2]}, cv=2, error_score="raise")
    search.fit(data.drop(columns="label"), data["label"])
    assert search.best_params_["keep"] in (1, 2)
    assert RunFolder(search.best_estimator_.run_).read(Config).options["sft"]["keep"] == search.best_params_["keep"]
    assert search.score(data.drop(columns="label"), data["label"]) > 0.4


@pytest.mark.slow
def test_cross_validation_takes_records() -> None:
    data = frame(36)
    rows = [{"rgb": rgb, "sound": sound} for rgb, sound in zip(data["rgb"], data["sound"], strict=True)]
    assert cross_val_score(quick(epochs=1), rows, data["label"].tolist(), cv=2, error_score="raise").shape == (2,)


def test_a_fitted_one_can_be_copied_and_sent_to_another_process(fitted: Classifier, tmp_path: Path) -> None:
    test = clips(3)
    expected = fitted.predict_proba(test)
    for other in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        assert other.run_ != fitted.run_
        np.testing.assert_array_equal(other.predict_proba(test), expected)
        assert other.save(tmp_path / other.run_.name).is_dir()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keep": {"rgb": "x"}}, "keep.rgb of sft is 'x'; expected a whole number, 0 or more"),
        ({"modalities": 2.5}, "modalities is 2.5; expected a list, each a text"),
        ({"features": 3}, "features is 3; expected one of raw, auto, raw,auto"),
        ({"features": {"rgb": 3}}, "features.rgb is 3; expected a mapping by name"),
        ({"features": {"rgb": {"extractor": 3}}}, "features.rgb.extractor is 3; expected a text"),
        ({"method": "auto", "gmacs": "x"}, "gmacs is 'x'; expected a number, 0 or more"),
        ({"stem": []}, r"stem is \[\]; expected options by modality"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classifier(**{"method": "sft", "epochs": 1, **given}).fit(clips(12))


def test_a_folder_that_is_there_is_overwritten_only_if_it_is_a_run_and_one_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was trained outlives a script that ends with the error."""
    clf = quick(epochs=1).fit(frame(18))
    saved = clf.save(tmp_path / "saved")
    assert clf._remove.atexit
    with pytest.raises(
        FileExistsError, match=rf"saved is not empty: it holds a run; .*overwrite=True.*{clf.run_} when"
    ):
        clf.save(saved)
    assert not clf._remove.atexit
    other = quick(epochs=2).fit(frame(18, seed=1))
    assert other.save(saved, overwrite=True) == saved
    assert RunFolder(saved).read(Result).epochs == 2
    assert len(list((saved / "data").iterdir())) == 1, "the data of the run before are gone"
    assert not list(saved.glob(".save-*"))
    before = sorted(tmp_path.rglob("*"))
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target) == saved / "model.json" and Path(source).parent.name == "new":
            raise OSError("the disk is full")
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full)
        with pytest.raises(OSError, match="disk is full"):
            clf.save(saved, overwrite=True)
    assert RunFolder(saved).read(Result).epochs == 2, "the run before is there still"
    for name in ("notes.txt", "data/films"):
        (saved / name).mkdir()
        with pytest.raises(FileExistsError, match=rf"holds more than a run \({name}\); nothing there is deleted"):
            clf.save(saved, overwrite=True)
        (saved / name).rmdir()
    with pytest.raises(FileExistsError, match="is not empty, and no run folder; nothing there is deleted"):
        clf.save(tmp_path, overwrite=True)
    with pytest.raises(FileExistsError, match="is a file; give a folder"):
        clf.save(saved / "config.json", overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "empty").mkdir()
    assert clf.save(tmp_path / "empty") == tmp_path / "empty"
    assert clf._remove.atexit, "saved after all"


def matrix_of(count: int) -> np.ndarray:
    return np.eye(4, dtype=int)[np.arange(count) % 3]


KINDS = {
    "words": lambda i: WORDS[i % 3],
    "whole numbers": lambda i: [9, 10, 11][i % 3],
    "of numpy": lambda i: np.int32([9, 10, 11][i % 3]),
    "booleans": lambda i: i % 2 == 0,
    "fractions": lambda i: i % 3 + 0.5,
    "dates": lambda i: date(2020, 1, 1 + i % 3),
    "times": lambda i: datetime(2020, 1, 1 + i % 3, 9, 30, tzinfo=UTC),
    "days of numpy": lambda i: np.datetime64("2020-01-01") + i % 3,
    "times of numpy": lambda i: np.datetime64(f"2020-01-0{1 + i % 3}", "ns"),
    "times of pandas": lambda i: pd.Timestamp(2020, 1, 1 + i % 3, tz="Europe/Berlin"),
    "lists": lambda i: [[1], [1, 2], [2, 3]][i % 3],
    "a matrix": None,
    "two columns": None,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_is_loaded_as_it_was(kind: str, tmp_path: Path) -> None:
    data, label = clips(12), KINDS[kind]
    y = matrix_of(12) if label is None else [label(i) for i in range(12)]
    if kind == "two columns":
        y = pd.DataFrame({"verb": ["put", "take"] * 6, "noun": [True, True, False] * 4})
    del data["label"]
    clf = quick(epochs=1).fit(data, y, valid=0)
    again = Classifier.load(clf.save(tmp_path / "run"))
    new = clips(5, seed=3)
    assert again.predict(new).dtype == clf.predict(new).dtype
    assert [*map(type, again.predict(new))] == [*map(type, clf.predict(new))]
    assert again.predict(new).tolist() == clf.predict(new).tolist()
    assert again.score(data, y) == clf.score(data, y)
    assert again.get_params() == clf.get_params()
    assert again.n_features_in_ == clf.n_features_in_ == 2
    assert Classifier.load(again.save(tmp_path / "twice")).predict(new).tolist() == clf.predict(new).tolist()
    if kind != "fractions":
        for mine, theirs in zip(again.classes_, clf.classes_, strict=True):
            assert np.array(mine).tolist() == np.array(theirs).tolist()
            assert np.array(mine).dtype == np.array(theirs).dtype
        for mine, theirs in zip(again.predict_proba(new), clf.predict_proba(new), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-6)
    else:
        assert not hasattr(again, "classes_")


def test_a_run_of_a_command_is_loaded_too(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path), "late", lr=0.01)
    clf = Classifier.load(sparsefuse.train(config, tmp_path / "run", measured=False))
    assert clf.classes_.tolist() == ["a", "b", "c"]
    assert clf.score(tmp_path / "manifest.csv") == np.mean(
        clf.predict(tmp_path / "manifest.csv") == pd.read_csv(tmp_path / "manifest.csv")["label"]
    )
    assert clf.get_params()["lr"] == 0.01
    assert clf.get_params()["dim"] == 10
    assert clf.method == "late"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix": -1}, "matrix is -1; expected 0 to 1,000,000"),
        ({"matrix": 3}, "matrix is 3; a class of model.json is no column of it"),
        ({"labels": {"a": {}, "b": {}}}, "labels are a, b; expected one column"),
        ({"labels": {"label": {"clap": "os.system"}}}, "unknown type of label 'os.system'"),
        ({"labels": {"label": {"clap": "int"}}}, "label 'clap' is no int"),
        ({"options": {"kep": 2}}, r"classifier.json: options: unknown argument 'kep'; did you mean 'keep'"),
        ({"columns": 3}, r"classifier.json.*columns"),
    ],
)
def test_a_file_beside_a_run_that_does_not_fit_it_is_an_error(
    fitted: Classifier, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    file = fitted.save(tmp_path / "run") / "classifier.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        Classifier.load(tmp_path / "run")


def test_what_is_no_run_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run folder .*gone not found"):
        Classifier.load(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"is not a run folder: it has no model\.json"):
        Classifier.load(tmp_path)


def test_a_saved_run_may_move(tmp_path: Path, monkeypatch, capsys) -> None:
    kept = quick(epochs=1).fit(frame(18), out=tmp_path / "run")
    assert kept.save(tmp_path / "run") == tmp_path / "run", "it is there"
    kept.save(tmp_path / "saved").rename(tmp_path / "moved")
    assert call(monkeypatch, "eval", tmp_path / "moved", "--split", "valid") == 0
    assert "clips  3" in capsys.readouterr().out


@pytest.mark.slow
def test_progress_is_shown_where_somebody_sees_it(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def told(**verbose: Any) -> str:
        quick(epochs=1, **verbose).fit(clips(12))
        return capsys.readouterr().err

    assert told() == "", "stderr is no terminal"
    assert told(verbose=1).startswith("epoch 1 of 1: train loss")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert "train loss" in told()
    assert "1/1" in told()
    assert told(verbose=0) == ""
    assert told(verbose=False) == ""


def test_data_in_the_place_of_the_method_are_told_where_they_go(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films").mkdir()
    (tmp_path / "sft").mkdir()
    for make in (Classifier, lambda method: Classifier().set_params(method=method)):
        with pytest.raises(ValueError, match=r"method is 'films', a folder; .* Classifier\(\)\.fit\('films'\)$"):
            make("films")
        with pytest.raises(ValueError, match=r"method is 'clips.csv', the name of a table; .*fit\('clips.csv'\)$"):
            make("clips.csv")
        with pytest.raises(TypeError, match=r"method is DataFrame; expected the name .* Classifier\(\)\.fit\(X, y\)$"):
            make(frame(3))
        assert make("sft").method == "sft"


def test_a_leak_is_told_in_words_of_python_and_may_be_let_pass(caplog: pytest.LogCaptureFixture) -> None:
    data = {**clips(18), "split": ["train"] * 15 + ["valid"] * 3}
    data["rgb"][17] = data["rgb"][0]
    with pytest.raises(ValueError, match=r"^leak-content: rgb: .*use Classifier\(split=\{\"by\": \"group\"\}\), or "
                       r"take one of them out, or use Classifier\(leaks=\"warn\"\)$"):  # fmt: skip
        quick(epochs=1).fit(data)
    clf = quick(epochs=1, leaks="warn").fit(data)
    assert "leak-content: rgb: 2 samples" in caplog.text
    assert any("scores may be too good: leak-content" in text for text in RunFolder(clf.run_).read(Result).warnings)


@pytest.mark.parametrize(
    ("configuration", "python"),
    [
        ("lower train.lr (now 0.1)", "lower lr (now 0.1)"),
        ("set data.task=class", 'use Classifier(task="class")'),
        ("run was started with options.sft.keep=2, not 3", "run was started with keep=2, not 3"),
        ("configuration: data.leaks: unknown leaks 'wrn'", "leaks: unknown leaks 'wrn'"),
        ("/home/data.label/train.lr.csv: no clip", "/home/data.label/train.lr.csv: no clip"),
        ("was started with data.manifest='a'", "was started with data.manifest='a'"),
        ("data.split.k is 9", "split.k is 9"),
        ("give it clips (data.split.fractions)", "give it clips (valid)"),
        ("set the share in split.fractions to 0", "set the share in valid to 0"),
    ],
)
def test_errors_of_a_configuration_are_put_in_words_of_python(configuration: str, python: str) -> None:
    from sparsefuse.classifier.arguments import in_python

    assert in_python(configuration) == python


def numbers(count: int) -> pd.DataFrame:
    """Rows of numbers of which `x` shows the class, 0 or 1."""
    rng, label = np.random.default_rng(0), np.arange(count) % 2
    values = rng.normal(size=(count, 3)) + np.stack([4 * label - 2, 0 * label, 0 * label], 1)
    return pd.DataFrame(values, columns=["x", "y", "z"]).assign(label=label, person=np.arange(count) // 4)


def test_arguments_that_change_after_fit_change_no_prediction(fitted: Classifier, tmp_path: Path) -> None:
    test = clips(6, seed=3)
    again = copy.deepcopy(fitted).set_params(modalities=["rgb"])
    assert np.array_equal(again.predict_proba(test), fitted.predict_proba(test))


def test_sentences_beside_times_are_read_whole_as_in_a_manifest(tmp_path: Path) -> None:
    """Each row's words are its own already; its times cut other streams."""
    table = pd.DataFrame({"said": [f"{'good' if i % 2 else 'bad'} day {i}" for i in range(12)], "start": range(12)})
    table["end"] = table["start"] + 1.0
    clf = quick(epochs=1).fit(table, [i % 2 for i in range(12)])
    alone = table.drop(columns=["start", "end"])
    np.testing.assert_array_equal(clf.predict_proba(table), clf.predict_proba(alone))
    table.assign(id=range(12)).to_csv(tmp_path / "m.csv", index=False)
    extract(tmp_path / "m.csv", tmp_path / "out", jobs=1, progress=False)
    spec = json.loads((tmp_path / "out/features.json").read_text())["features"]["said"]
    assert clf.predictor_.extract["said"] == spec


def test_a_stream_of_sentences_may_be_given_words() -> None:
    moods = ["lovely", "awful"]
    data = {"rgb": clips(30)["rgb"], "said": [f"it was {moods[i % 2]} today {i}" for i in range(30)]}
    clf = quick("concat").fit(data, [i % 2 for i in range(30)])
    short = {"rgb": data["rgb"][:2], "said": moods}
    alone = {"rgb": data["rgb"][:2], "said": [None, None]}
    assert not np.array_equal(clf.predict_proba(short), clf.predict_proba(alone))
    one = {"rgb": data["rgb"][0], "said": "lovely"}
    np.testing.assert_allclose(clf.predict_proba(one), clf.predict_proba(short)[:1], atol=1e-5)


def test_columns_of_numbers_are_found_by_name(tmp_path: Path) -> None:
    """Whatever else the table holds: labels, who is in a clip."""
    table = numbers(40)
    features = table[["x", "y", "z"]]
    clf = quick("concat").fit(table, label="label", group="person")
    assert clf.feature_names_in_.tolist() == ["x", "y", "z"]
    expected = clf.predict_proba(features)
    for given in (
        table,
        table[["label", "x", "y", "z"]],
        features.to_dict("list"),
        {name: list(features[name]) for name in "zyx"},
        [{name: row[name] for name in "yzx"} for row in features.to_dict("records")],
    ):
        assert np.array_equal(clf.predict_proba(given), expected)
    for given in (features[["y", "x", "z"]], features[["x", "y"]]):
        with pytest.raises(ValueError, match="feature names should match"):
            clf.predict(given)
    features.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(
        ValueError, match=r"fit was given a table whose rows are clips; give .*read_csv\('.*table.csv'\)"
    ):
        clf.predict(tmp_path / "table.csv")
    alone = quick("concat").fit({name: list(features[name]) for name in "xyz"}, list(table["label"]))
    rows = features.to_dict("records")
    assert np.array_equal(alone.predict_proba(rows[0]), alone.predict_proba(rows[:1]))
    assert np.array_equal(alone.predict_proba({name: rows[0][name] for name in "zxy"}), alone.predict_proba(rows[:1]))


def test_labels_that_are_equal_numbers_are_one_class() -> None:
    table = numbers(40)
    features, label = table[["x", "y", "z"]], table["label"]
    clf = quick("concat").fit(features[:30], label[:30], valid=(features[30:], label[30:].astype(float)))
    assert clf.classes_.tolist() == [0, 1]
    assert clf.score(features, label) == np.mean(clf.predict(features) == label) > 0.9
    for same in (label.astype(float), label.astype(bool), label.astype(np.uint8)):
        assert clf.score(features, same) == clf.score(features, label)
    mixed = quick("concat").fit(features, [float(one) if i % 3 else one for i, one in enumerate(label.tolist())])
    assert mixed.classes_.tolist() == [0, 1]
