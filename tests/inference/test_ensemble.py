"""An ensemble is a run folder: the mean of its members' calibrated logits, wherever a run is used."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from command import call
from sparsefuse.cost import count
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.sample import Sample
from sparsefuse.explain import explain
from sparsefuse.export.artefact import export
from sparsefuse.export.program import Program, pad
from sparsefuse.files import checkpoint
from sparsefuse.finetune import finetune
from sparsefuse.inference.ensemble import ensemble, join
from sparsefuse.inference.evaluate import evaluate
from sparsefuse.inference.predictor import Predictor, load
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Calibration, ModelFacts, Result
from sparsefuse.serve.reader import FEW, TIMES, most_tokens
from sparsefuse.sharing import pull, push
from sparsefuse.training import multiclip
from sparsefuse.training.train import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """late, with windows; sft, resampled and not normalised; sound alone: in folders of these names, and `all`."""
    folder = tmp_path_factory.mktemp("ensemble")
    manifest = tiny.write_set(folder / "data")
    plain = {"measured": False, "shown": False}
    late = tiny.with_data(tiny.config(manifest, "late", lr=0.01), max_length=2, windows=3)
    train(late, folder / "late", **plain)
    sft = tiny.with_data(tiny.config(manifest, "sft", lr=0.01), resample={"rgb": 3}, normalise=False)
    train(sft, folder / "sft", **plain)
    sound = tiny.with_data(tiny.config(manifest, "unimodal", lr=0.01), modalities=["sound"])
    train(sound, folder / "sound", **plain)
    for name, temperature in (("late", 0.5), ("sft", 2.0), ("sound", 3.0)):
        RunFolder(folder / name).write(Calibration(temperature, 4, 1.0, 1.0))
    ensemble([folder / name for name in MEMBERS], folder / "all", measured=False)
    return folder


MEMBERS = ("late", "sft", "sound")


def logits_of(predictor: Predictor, clip: dict[str, Path]) -> torch.Tensor:
    """(C,) as `predict` has them before softmax, without a temperature."""
    tokens, _ = predictor.tokens({name: file for name, file in clip.items() if name in predictor.columns})
    return multiclip.logits(predictor.model, tokens, predictor.fit)[0].detach()


def clip(runs: Path, name: str, modalities: tuple[str, ...] = ("rgb", "sound")) -> dict[str, Path]:
    files = {modality: runs / f"data/features/{name}-{modality}.npy" for modality in modalities}
    return {modality: file for modality, file in files.items() if file.exists()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test0", "test1", "test3"])
def test_it_predicts_the_mean_of_the_members_calibrated_logits(runs: Path, name: str) -> None:
    each = [load(runs / member) for member in MEMBERS]
    expected = sum(logits_of(one, clip(runs, name)) / one.temperature for one in each) / 3
    whole = load(runs / "all")
    torch.testing.assert_close(logits_of(whole, clip(runs, name)), expected, atol=1e-5, rtol=1e-5)
    shares = (expected / whole.temperature).softmax(0).tolist()
    assert list(whole.predict_one(clip(runs, name)).probabilities.values()) == pytest.approx(shares, abs=1e-5)


def test_members_that_read_nothing_of_a_clip_have_no_say(runs: Path) -> None:
    seen = clip(runs, "test0", ("rgb",))
    expected = sum(logits_of(one, seen) / one.temperature for one in (load(runs / "late"), load(runs / "sft"))) / 2
    whole = load(runs / "all")
    torch.testing.assert_close(logits_of(whole, seen), expected, atol=1e-5, rtol=1e-5)
    both = [{n: torch.from_numpy(np.load(f)) for n, f in c.items()} for c in (seen, clip(runs, "test3"))]
    batch = multiclip.streams(whole.model, [Sample(features, torch.tensor(0), "") for features in both])
    together = multiclip.logits(whole.model, batch, whole.fit)[0].detach()
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=1e-5)


def test_scores_and_calibration_are_of_the_clips_that_all_share(runs: Path) -> None:
    result = RunFolder(runs / "all").read(Result)
    assert result.splits == {"train": 9, "valid": 4, "test": 4}
    assert evaluate(runs / "all")["top1"] == result.test["top1"]
    assert RunFolder(runs / "all").read(Calibration).clips == 4
    assert (runs / "all/predictions.csv").read_text().count("\n") == 5
    assert RunFolder(runs / "all").seen() == RunFolder(runs / "late").seen()


def test_it_costs_the_sum_of_its_members(runs: Path) -> None:
    costs = [RunFolder(runs / name).read(Result).cost for name in MEMBERS]
    found = RunFolder(runs / "all").read(Result).cost
    for part in ("gmacs", "layers_gmacs", "paper_gmacs", "parameters"):
        assert getattr(found, part) == pytest.approx(sum(getattr(cost, part) for cost in costs)), part


@pytest.mark.slow
def test_an_ensemble_among_members_counts_as_its_members(runs: Path, tmp_path: Path) -> None:
    pair = ensemble([runs / "late", runs / "sft"], tmp_path / "pair", measured=False)
    RunFolder(pair).write(Calibration(2.0, 4, 1.0, 1.0))
    members = join([pair, runs / "sound"]).facts.members
    assert members is not None
    assert [(m.name, m.temperature) for m in members] == [("late", 1.0), ("sft", 4.0), ("unimodal", 3.0)]


def test_it_works_elsewhere_without_its_members(runs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs / "all", tmp_path / "copy")
    features = {name: np.load(file) for name, file in clip(runs, "test0").items()}
    assert load(copy).predict(features) == load(runs / "all").predict(features)


def test_without_common_test_clips_nothing_is_scored(runs: Path, tmp_path: Path, caplog) -> None:
    manifest = tiny.write_set(tmp_path / "other", (9, 4, 3))
    train(tiny.config(manifest, "late"), tmp_path / "late", measured=False, shown=False)
    pair = ensemble([runs / "sft", tmp_path / "late"], tmp_path / "pair", measured=False)
    assert not RunFolder(pair).read(Result).test
    assert "do not have the same test clips" in caplog.text
    with pytest.raises(ValueError, match="may have been trained on another's; score new clips with --manifest"):
        evaluate(pair)


def test_a_member_that_has_seen_the_test_clips_leaves_the_ensemble_without_a_score(runs, tmp_path, caplog) -> None:
    """Of another manifest with the same ids, as rows without ids have, whose training clips are the test clips here."""
    other = tiny.write_set(tmp_path / "data", seed=1)
    for i in range(4):
        for name in tiny.FEATURES:
            file = runs / f"data/features/test{i}-{name}.npy"
            if file.exists():
                shutil.copy(file, tmp_path / f"data/features/train{i}-{name}.npy")
    cheat = train(tiny.config(other, "late"), tmp_path / "cheat", measured=False, shown=False)
    found = ensemble([runs / "late", cheat], tmp_path / "both", measured=False)
    assert RunFolder(found).read(Result).test == {}
    assert "a member has seen 4 of the test clips" in caplog.text
    assert evaluate(found)["seen"] == 4


@pytest.mark.slow
def test_an_ensemble_of_ensembles_may_be_as_modest_as_their_product(runs: Path, tmp_path: Path) -> None:
    """Each is calibrated on its own, by up to 100: a member counts by the product, .5 x 80 and 3 x 80."""
    inner = ensemble([runs / "late", runs / "sound"], tmp_path / "inner", measured=False)
    RunFolder(inner).write(Calibration(80.0, 4, 1.0, 1.0))
    outer = ensemble([inner, runs / "sft"], tmp_path / "outer", measured=False)
    members = RunFolder(outer).read(ModelFacts).members
    assert members is not None
    assert [member.temperature for member in members] == [40.0, 240.0, 2.0]
    assert load(outer).predict(clip(runs, "test0")).label


def test_members_must_agree(runs: Path, tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path / "data", task="multilabel")
    other = train(tiny.config(manifest, "late"), tmp_path / "other", measured=False, shown=False)
    with pytest.raises(ValueError, match=r"sft and .*other differ in task \(class and multilabel\)"):
        ensemble([runs / "sft", other], tmp_path / "e")
    facts = RunFolder(other).read(ModelFacts)
    wide = shutil.copytree(runs / "late", tmp_path / "wide")
    path = wide / "model.json"
    path.write_text(path.read_text().replace('"c"', '"d"'))
    with pytest.raises(ValueError, match=r"sft and .*wide differ in classes \(3 classes and 3 classes\)"):
        ensemble([runs / "sft", wide], tmp_path / "e")
    assert facts.labels.task == "multilabel"
    assert not (tmp_path / "e").exists()
    with pytest.raises(ValueError, match="two runs or more; got 1"):
        ensemble([runs / "sft"], tmp_path / "e")
    with pytest.raises(FileExistsError, match="is not empty"):
        ensemble([runs / "sft", runs / "late"], runs / "late")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tree: tree["members"][0].update(method="ensemble"), "expected ensemble with members"),
        (lambda tree: tree["members"][0].update(temperature=0.0), "temperature is 0"),
        (lambda tree: tree["members"][1]["features"].update(rgb=6), "rgb, 6 wide, is not in all"),
        (lambda tree: tree["members"][1]["options"].update(fusion_depth=10**9), "more"),
        (lambda tree: tree.update(members=[]), "members is 0"),
        (lambda tree: tree.update(method="late"), "method is late; expected ensemble"),
        (lambda tree: tree["members"].pop(), "does not hold the model that model.json describes"),
    ],
)
def test_what_no_ensemble_can_be_is_refused(runs: Path, tmp_path: Path, change, reason: str) -> None:
    copy = shutil.copytree(runs / "all", tmp_path / "copy")
    tree = json.loads((copy / "model.json").read_text())
    change(tree)
    (copy / "model.json").write_text(json.dumps(tree))
    with pytest.raises(ValueError, match=reason):
        load(copy)


def test_statistics_of_a_member_must_be_above_zero(runs: Path, tmp_path: Path) -> None:
    name = next(n for n in checkpoint.shapes(runs / "all/model.safetensors") if n.endswith(".std"))
    with pytest.raises(ValueError, match=r"std is 0; expected values above 0"):
        load(tiny.spoilt(runs / "all", tmp_path / "copy", {name: 0.0}))


def test_the_exported_program_says_what_predict_says(runs: Path) -> None:
    whole = load(runs / "all")
    program = Program(whole)
    clips = [{n: torch.from_numpy(np.load(f)) for n, f in clip(runs, f"test{i}").items()} for i in range(4)]
    found = program(*pad(clips, program.inputs))[1]
    for i in range(4):
        assert found[i].tolist() == pytest.approx(
            list(whole.predict_one(clip(runs, f"test{i}")).probabilities.values()), abs=1e-5
        )


@pytest.mark.slow
def test_it_exports_as_one_file(runs: Path, tmp_path: Path) -> None:
    """`export` compares the file with the run on the validation clips, one of which lacks rgb."""
    card = export(runs / "all", out=tmp_path / "all.pt2", format="pt2").card
    assert card.parity.max_difference < 1e-4
    assert card.parity.clips == 4
    assert card.method == "ensemble"


def test_it_is_shared_whole(runs: Path, tmp_path: Path) -> None:
    push(runs / "all", str(tmp_path / "shared"))
    copy = pull(str(tmp_path / "shared"), tmp_path / "back")
    features = {name: np.load(file) for name, file in clip(runs, "test0").items()}
    assert load(copy).predict(features) == load(runs / "all").predict(features)
    tree = json.loads((tmp_path / "shared/model.json").read_text())
    tree["members"][2]["method"] = "evil.py"
    (tmp_path / "shared/model.json").write_text(json.dumps(tree))
    with pytest.raises(ValueError, match=r"method is the code 'evil\.py'"):
        pull(str(tmp_path / "shared"), tmp_path / "again")
    with pytest.raises(ValueError, match=r"needs the code in .*evil\.py"):
        load(tmp_path / "shared")


def test_the_server_takes_clips_of_any_length_that_all_members_cut(runs: Path, tmp_path: Path) -> None:
    """sft reads all of sound (6 tokens in training), late cuts both, sft resamples rgb."""
    assert most_tokens(runs / "all") == {"sound": max(FEW, 6 * TIMES)}


def test_what_needs_one_model_says_so(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="attention can be traced in one model"):
        explain(runs / "all", clip(runs, "test0"))
    with pytest.raises(ValueError, match="is an ensemble; adapt one of its members"):
        finetune(runs / "all", runs / "data/manifest.csv", tmp_path / "mine")


@pytest.mark.usefixtures("made_up_costs")
def test_from_the_command_line(runs: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    out = tmp_path / "pair"
    assert call(monkeypatch, "ensemble", runs / "late", runs / "sft", "--out", out, "--name", "both") == 0
    assert "both" in capsys.readouterr().out
    assert call(monkeypatch, "predict", out, runs / "data/manifest.csv", "--json") == 0
    assert capsys.readouterr().out.count("probabilities") == 17


@pytest.mark.slow
def test_regression_is_the_mean_of_numbers(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path / "data", task="regression")
    made = [
        train(tiny.config(manifest, "late"), tmp_path / str(seed), measured=False, shown=False, seed=seed)
        for seed in (0, 1)
    ]
    pair = ensemble(made, tmp_path / "pair", measured=False)
    numbers = [float(load(run).predict(clip(tmp_path, "test0")).label) for run in (*made, pair)]
    assert numbers[2] == pytest.approx((numbers[0] + numbers[1]) / 2, abs=2e-4)
    assert load(pair).fit == Lengths()
    assert count.total(load(pair).model, {"rgb": 4, "sound": 6}) > 0
