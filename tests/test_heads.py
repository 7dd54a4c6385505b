"""One class in each of several label columns, as EPIC-Kitchens' verb and noun, from the manifest to the report."""

import csv
import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
import torch
import yaml

import tiny
from sparsefuse import mixup
from sparsefuse.budget.chosen import write_yaml
from sparsefuse.budget.trials import Goal
from sparsefuse.config import Config, Split
from sparsefuse.data.check import check
from sparsefuse.data.clips import load_clips
from sparsefuse.explain import explain
from sparsefuse.explain.footage import footage
from sparsefuse.explain.page import ExplainedClip, write_page
from sparsefuse.inference.clips import show
from sparsefuse.inference.evaluate import evaluate
from sparsefuse.inference.predictor import load
from sparsefuse.report.page import runs_table, summarise, write_report
from sparsefuse.runs.summary import MAIN_METRIC, read_runs
from sparsefuse.study.conduct import check_classes
from sparsefuse.training.train import train

VERBS, NOUNS = ("put", "take", "wash"), ("cup", "plate")


def config_of(manifest: Path, method: str = "mbt", **train) -> Config:
    """Verb and noun at once."""
    return tiny.with_data(tiny.config(manifest, method, **train), label="verb+noun")


def listed(config: Config, folder: Path, *more: str) -> Config:
    """The configuration with a list of verbs, of which `fold` is in no clip."""
    lines = [f"{i},{name}" for i, name in enumerate(["wash", "fold", "take", "put", *more])]
    (folder / "verbs.csv").write_text("\n".join(["id,key", *lines]))
    return tiny.with_data(config, classes={"verb": str(folder / "verbs.csv")})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MBT whose streams learn apart, with mixed-up clips and smoothed labels; val1 has a noun of its own."""
    folder = tmp_path_factory.mktemp("heads")
    manifest = tiny.write_set(folder / "data", (18, 4, 8), task="heads")
    tiny.edit(manifest, valid1={"noun": "fork"})
    spec = {"mixup_alpha": 0.3, "mixup_warmup": 0, "label_smoothing": 0.1, "epochs": 8, "lr": 0.02}
    config = config_of(manifest, options={"loss": "each"}, **spec)
    return train(config, folder / "runs" / "mbt", root=Path(), measured=False)


def result_of(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


def clip(run: Path, name: str) -> dict[str, str]:
    files = {modality: run.parent.parent / f"data/features/{name}-{modality}.npy" for modality in tiny.FEATURES}
    return {modality: str(file) for modality, file in files.items() if file.exists()}


def test_verb_and_noun_are_learnt_together(run: Path) -> None:
    lines = tiny.epochs(run)
    assert lines[-1]["train_loss"] < 0.7 * lines[0]["train_loss"]
    result = result_of(run)
    assert result["task"] == "heads"
    assert result["heads"] == {"verb": 3, "noun": 2}
    assert result["classes"] == [*(f"verb:{name}" for name in VERBS), *(f"noun:{name}" for name in NOUNS)]
    assert set(result["test"]) == {"loss", "top1", "top5", "top1_verb", "top1_noun"}
    assert result["test"]["top1"] >= 0.75, "what each clip shows is easy to see"
    assert result["test"]["top1"] <= min(result["test"]["top1_verb"], result["test"]["top1_noun"])
    assert len(result["per_class_ap"]) == 5
    assert {head: len(counts) for head, counts in result["confusions"].items()} == result["heads"]


def test_a_clip_whose_noun_training_lacks_is_skipped_with_a_reason(run: Path) -> None:
    assert [skip for skip in tiny.skipped(run) if skip["id"] == "valid1"] == [
        {
            "id": "valid1",
            "modality": "",
            "reason": "label not seen in training: unknown noun 'fork'. available: cup, plate",
        }
    ]
    assert result_of(run)["splits"] == {"train": 18, "valid": 3, "test": 8}


def test_predictions_csv_says_what_the_scores_say(run: Path) -> None:
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    right = {"top1": 0, "top1_verb": 0, "top1_noun": 0}
    for i, row in enumerate(rows):
        truth = tiny.LABELS["heads"](i).split(",")
        assert row["label"] == "+".join(truth)
        shares = [{name: float(row[f"{head}:{name}"]) for name in names} for head, names in
                  (("verb", VERBS), ("noun", NOUNS))]  # fmt: skip
        assert [sum(share.values()) for share in shares] == pytest.approx([1, 1], abs=1e-5)
        said = [max(share, key=lambda name: share[name]) for share in shares]
        assert row["predicted"] == "+".join(said)
        right["top1"] += said == truth
        right["top1_verb"] += said[0] == truth[0]
        right["top1_noun"] += said[1] == truth[1]
    test = result_of(run)["test"]
    assert {name: test[name] for name in right} == {name: count / 8 for name, count in right.items()}


def test_predict_and_eval_say_what_training_said(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = load(run)
    predictor.calibration = None  # predictions.csv has the probabilities as trained
    for row in csv.DictReader((run / "predictions.csv").read_text().splitlines()):
        found = predictor.predict_one(clip(run, row["id"]))
        assert found.label == row["predicted"]
        names = result_of(run)["classes"]
        assert found.probabilities == pytest.approx({name: float(row[name]) for name in names}, abs=1e-5)
    found = evaluate(run)
    assert {name: found[name] for name in result_of(run)["test"]} == pytest.approx(result_of(run)["test"], abs=1e-5)
    manifest = run.parent.parent / "data" / "manifest.csv"
    show(run, [manifest], top=1, as_json=False, trust_code=False)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("test0:"))
    said = re.fullmatch(r"test0: (\w+)\+(\w+) \(verb:(\w+) [\d.]+, noun:(\w+) [\d.]+\)", line)
    assert said, "the answer, and the likeliest of each head with its share"
    assert said.group(1, 2) == said.group(3, 4)


def test_an_answer_is_explained_by_the_product_of_its_probabilities(run: Path, tmp_path: Path) -> None:
    found = explain(run, clip(run, "test0"))
    shares = found.prediction.probabilities
    assert found.answer == found.prediction.label
    verb, noun = found.answer.split("+")
    assert found.occlusion.whole == pytest.approx(shares[f"verb:{verb}"] * shares[f"noun:{noun}"], rel=1e-4)
    explained = ExplainedClip("test0", "mbt", found, footage(load(run), clip(run, "test0"), list(found.rollout)))
    page = write_page(explained, tmp_path / "page.html").read_text()
    assert f"{found.answer} has a probability of {100 * found.occlusion.whole:.0f} %" in page


def test_the_report_shows_every_head(run: Path) -> None:
    rows = summarise(read_runs(run.parent))
    assert rows[0].main == MAIN_METRIC["heads"] == "top1"
    titles = runs_table(rows).markdown().splitlines()[0]
    assert "| Top-1 % | Top-5 % | Top-1 verb % | Top-1 noun % |" in titles
    assert runs_table(rows).rich().columns[2].header == "Top-1 %"
    page = write_report(run.parent).read_text()
    assert "on 3 classes of verb and 2 classes of noun" in page
    assert "Top-1: right in verb and noun at once" in page
    assert "mbt: verb" in page
    assert "mbt: noun" in page
    assert ">verb:wash</th>" in page
    assert Goal(rows[0].main).sign == 1


def test_other_methods_take_heads_as_they_are(tmp_path: Path) -> None:
    """Two with layers of their own for logits; these are as wide as all classes together."""
    config = config_of(tiny.write_set(tmp_path / "data", (6, 2, 2), task="heads"), epochs=1)
    for method in ("mult", "tokenfusion"):
        made = dataclasses.replace(config, method=method)
        found = result_of(train(made, tmp_path / method, root=Path(), measured=False))
        assert math.isfinite(found["test"]["loss"])


def test_mixed_labels_of_each_head_have_their_share_of_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand. Both outputs say (2, 0, 0) of verbs and (0, 0) of nouns; all have one partner, whichever it is."""
    method = tmp_path / "one.py"
    said = "tensor([[2.0, 0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0, 0.0]])"
    method.write_text(tiny.TWO_VOICES.replace("tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])", said))

    def draw(tokens, plan, **_):
        lam = dict.fromkeys(tiny.FEATURES, torch.ones(9))
        return mixup.Mix(1, torch.zeros(9, dtype=torch.long), lam, torch.full((9,), 0.75), lam)

    monkeypatch.setattr(mixup, "draw", draw)
    manifest = tiny.write_set(tmp_path / "data", task="heads")
    spec = {"epochs": 1, "batch_size": 9, "mixup_alpha": 1.0, "mixup_warmup": 0, "label_smoothing": 0.3}
    config = dataclasses.replace(config_of(manifest, str(method), **spec), options={})
    found = tiny.epochs(train(config, tmp_path / "run", root=Path(), measured=False))[0]["train_loss"]
    log = math.log(math.e**2 + 2)
    smooth = {verb: 0.7 * (log - logit) + 0.3 * (log - 2 / 3) for verb, logit in (("put", 2), ("other", 0))}
    own = (smooth["put"] + 2 * smooth["other"]) / 3  # three clips of each verb
    expected = [(0.75 * own + 0.25 * partner + math.log(2)) / 2 for partner in smooth.values()]
    assert min(abs(found - value) for value in expected) < 1e-5


def test_classes_of_a_list_are_outputs_that_no_clip_shows(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path / "data", task="heads")
    tiny.edit(manifest, train0={"verb": "2"}, test0={"verb": "fold"}, test1={"verb": "sing"})
    config = listed(config_of(manifest, epochs=1), tmp_path)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    assert result_of(run)["heads"] == {"verb": 4, "noun": 2}
    assert result_of(run)["splits"]["test"] == 3, "fold is a class, sing is none"
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == ["fold+plate", "wash+cup", "take+plate"]
    (tmp_path / "verbs.csv").unlink()  # the run folder knows them
    assert evaluate(run)["clips"] == 3
    assert load(run).labels.encode("3+cup").tolist() == [3, 0]


def test_a_list_that_changed_does_not_continue_a_run(tmp_path: Path) -> None:
    config = listed(config_of(tiny.write_set(tmp_path / "data", task="heads"), epochs=2), tmp_path)
    run = train(config, tmp_path / "run", root=Path(), measured=False, stop=lambda _: True)
    listed(config, tmp_path, "open")
    with pytest.raises(ValueError, match=r"other classes: a list that data\.classes names changed"):
        train(config, run, root=Path(), resume=True, measured=False)
    listed(config, tmp_path)
    train(config, run, root=Path(), resume=True, measured=False)
    assert (run / "result.json").exists()


def test_what_budget_chose_finds_its_lists_from_its_own_folder(tmp_path: Path) -> None:
    config = tiny.with_data(config_of(Path("data/manifest.csv")), classes={"verb": "data/verbs.csv"})
    write_yaml(tmp_path / "out" / "chosen.yaml", config, tmp_path, [])
    written = yaml.safe_load((tmp_path / "out" / "chosen.yaml").read_text())["data"]
    assert written["manifest"] == str(Path("../data/manifest.csv"))
    assert written["classes"] == {"verb": str(Path("../data/verbs.csv"))}


def test_check_counts_the_classes_of_each_head(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path / "data", (24, 3, 3), task="heads")
    tiny.edit(manifest, **{f"train{i}": {"verb": "put" if i == 1 else "take"} for i in range(24)})
    report = check(listed(config_of(manifest), tmp_path).data, Path())
    assert report.balance["train"] == {
        "verb:wash": 0,
        "verb:fold": 0,
        "verb:take": 23,
        "verb:put": 1,
        "noun:cup": 16,
        "noun:plate": 8,
    }
    said = [problem.message for problem in report.problems if problem.kind in ("absent", "uneven")]
    assert said == [
        "train has no sample of 2 of 6 classes: verb:wash, verb:fold",
        "valid has no sample of 1 of 6 classes: verb:fold",
        "test has no sample of 1 of 6 classes: verb:fold",
        "classes are uneven in train: 'verb:take' has 23 samples, 'verb:put' has 1",
    ]


def test_check_compares_classes_of_one_head_only(tmp_path: Path) -> None:
    """20 clips of one noun and 2 of one verb say nothing about each other; 4 and 20, and 2 and 11, are even enough."""
    manifest = tiny.write_set(tmp_path / "data", (24, 3, 3), task="heads")
    verbs, nouns = ["put"] * 2 + ["take"] * 11 + ["wash"] * 11, ["plate"] * 4 + ["cup"] * 20
    tiny.edit(manifest, **{f"train{i}": {"verb": verbs[i], "noun": nouns[i]} for i in range(24)})
    assert [p for p in check(config_of(manifest).data, Path()).problems if "uneven" in p.message] == []


def test_one_column_of_two_is_one_class(tmp_path: Path) -> None:
    config = config_of(tiny.write_set(tmp_path / "data", task="heads"))
    clips = load_clips(tiny.with_data(config, label="noun").data, Path())
    assert (clips.labels.task, clips.labels.classes) == ("class", NOUNS)
    assert load_clips(tiny.with_data(config, label="noun+verb").data, Path()).labels.heads == {"noun": 2, "verb": 3}
    assert clips.features.keys() == tiny.FEATURES.keys(), "the verb is no modality"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"label": "verb+nuon"}, "no label column: unknown column 'nuon'; did you mean 'noun'"),
        ({"label": "verb+verb"}, "names column 'verb' twice"),
        ({"task": "class"}, "data.task is class, but data.label names 2 columns"),
        ({"label": "verb", "task": "heads"}, r"join several with \+, such as verb\+noun"),
    ],
)
def test_label_columns_that_cannot_be_are_an_error(tmp_path: Path, data: dict, message: str) -> None:
    config = config_of(tiny.write_set(tmp_path / "data", task="heads"))
    with pytest.raises(ValueError, match=message):
        load_clips(tiny.with_data(config, **data).data, Path())


def test_a_label_that_holds_a_plus_is_an_error_with_its_line(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path / "data", task="heads")
    tiny.edit(manifest, train2={"noun": "cup+plate"})
    with pytest.raises(ValueError, match=r"line 4: noun is 'cup\+plate'; \+ separates labels"):
        load_clips(config_of(manifest).data, Path())


def test_clips_are_divided_by_verb_and_noun(tmp_path: Path) -> None:
    config = config_of(tiny.write_set(tmp_path / "data", (24, 3, 3), task="heads"))
    clips = load_clips(tiny.with_data(config, split=Split(by="stratified", fractions=(0.6, 0.2, 0.2))).data, Path())
    for split, each in (("train", 6), ("valid", 2), ("test", 2)):
        labels = [row.label for row in clips.splits[split].rows]
        assert {label: labels.count(label) for label in labels} == dict.fromkeys(
            ("take+plate", "put+cup", "wash+cup"), each
        )


def test_a_study_says_that_it_judges_one_class(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path / "data", task="heads")
    with pytest.raises(ValueError, match=r"one class per clip; the labels of .* are a heads task"):
        check_classes(config_of(manifest).data, Path())
