"""A run folder is all that prediction needs, and it says what the trained model says."""

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from sparsefuse.cli.app import main
from sparsefuse.explain import explain
from sparsefuse.files import checkpoint
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.clips import show
from sparsefuse.inference.evaluate import evaluate
from sparsefuse.inference.predictor import Prediction, load
from sparsefuse.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    config = tiny.config(tiny.write_set(folder / "data"), epochs=6, lr=0.01)
    return train(config, folder / "run", root=Path(), measured=False)


def clip(run: Path, name: str) -> dict[str, Path]:
    """The feature files of a clip."""
    files = {modality: run.parent / f"data/features/{name}-{modality}.npy" for modality in tiny.FEATURES}
    return {modality: file for modality, file in files.items() if file.exists()}


def arrays(run: Path, name: str) -> dict[str, np.ndarray]:
    return {modality: np.load(file) for modality, file in clip(run, name).items()}


def test_predictions_are_those_of_the_trained_model(run: Path) -> None:
    """predictions.csv comes from training, in batches, without a temperature; test1 lacks a modality."""
    predictor = load(run)
    predictor.calibration = None
    for row in csv.DictReader((run / "predictions.csv").read_text().splitlines()):
        found = predictor.predict_one(clip(run, row["id"]))
        assert found.label == row["predicted"]
        assert found.probabilities == pytest.approx({name: float(row[name]) for name in "abc"}, abs=1e-5)


KINDS = {
    "array": np.asarray,
    "tensor": torch.from_numpy,
    "double": lambda x: torch.from_numpy(x).double(),
    "with a gradient": lambda x: torch.from_numpy(x).requires_grad_(),
    "other byte order": lambda x: x.astype(">f4"),
    "sparse": lambda x: torch.from_numpy(x).to_sparse(),
    "lists": np.ndarray.tolist,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_arrays_and_tensors_give_what_their_files_give(run: Path, kind) -> None:
    predictor = load(run)
    given = {name: kind(x) for name, x in arrays(run, "test0").items()}
    assert predictor.predict(given) == predictor.predict(clip(run, "test0"))


def test_files_may_be_named_by_text(run: Path) -> None:
    predictor = load(run)
    files = clip(run, "test2")
    assert predictor.predict({name: str(file) for name, file in files.items()}) == predictor.predict(files)


def test_a_list_gives_a_list_in_its_order(run: Path) -> None:
    predictor = load(run)
    clips = [clip(run, f"test{i}") for i in range(4)]
    for found, one in zip(predictor.predict(clips), clips, strict=True):
        alone = predictor.predict(one)
        assert isinstance(alone, Prediction)
        assert found.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
        assert (found.label, found.missing) == (alone.label, alone.missing)
    assert predictor.predict([]) == []


def test_a_notebook_shows_the_likeliest_classes_and_runs_nothing() -> None:
    shares = {"<b>sing</b>": 0.5, "x": 0.2, **{f"c{i}": 0.06 for i in range(5)}}
    page = Prediction("<b>sing</b>", shares, {"rgb": "<script>"})._repr_html_()
    assert page.count("<tr>") == 5
    assert page.index("0.500") < page.index("0.200") < page.index("0.060")
    assert "width: 20.0%" in page
    assert "without rgb: &lt;script&gt;" in page
    assert "<b>&lt;b&gt;sing&lt;/b&gt;</b>" in page
    assert "<b>none</b>" in Prediction("", {"a": 0.1}, {})._repr_html_()


def test_clips_of_similar_length_go_through_the_model_together(run: Path, monkeypatch) -> None:
    """Room for 12 tokens: 3 x 3, 2 x 5 and 1 x 6 with their padding."""
    monkeypatch.setattr("sparsefuse.inference.predictor.ROOM", 12)
    predictor, sizes = load(run), []
    predictor.model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0]["sound"].x)))
    rng = np.random.default_rng(0)
    clips = [{"sound": rng.normal(size=(length, 4))} for length in (5, 1, 6, 3, 2, 4)]
    found = predictor.predict(clips)
    assert sizes == [3, 2, 1]
    for together, clip in zip(found, clips, strict=True):
        assert together.probabilities == pytest.approx(predictor.predict_one(clip).probabilities, abs=1e-6)


def test_a_clip_that_fails_stops_no_other(run: Path) -> None:
    predictor, good = load(run), clip(run, "test0")
    bad = [{"rgb": np.zeros((3, 6))}, {"sound": np.full((3, 4), 3e38)}]  # the second one's output is no number
    results = list(predictor.results([good, bad[0], good, bad[1], good]))
    assert [type(result) for result in results] == [Prediction, Unusable, Prediction, Unusable, Prediction]
    assert results[0].probabilities == pytest.approx(predictor.predict_one(good).probabilities, abs=1e-6)
    assert "got (3, 6)" in str(results[1])
    assert "the model's output is" in str(results[3])
    with pytest.raises(Unusable, match=r"got \(3, 6\)"):
        predictor.predict([good, *bad])


def test_one_token_is_enough(run: Path) -> None:
    found = load(run).predict_one({name: x[:1] for name, x in arrays(run, "test0").items()})
    assert sum(found.probabilities.values()) == pytest.approx(1)


def test_a_missing_modality_is_named_and_the_rest_predicts(run: Path) -> None:
    predictor = load(run)
    whole = predictor.predict_one(clip(run, "test0"))
    assert whole.missing == {}
    part = predictor.predict_one({"sound": clip(run, "test0")["sound"]})
    assert part.missing == {"rgb": "not given"}
    assert part.probabilities != whole.probabilities
    assert predictor.predict_one(clip(run, "test1")).missing == {"rgb": "not given"}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (np.full((3, 5), np.nan, dtype=np.float32), "NaN"),
        (np.zeros((3, 6), dtype=np.float32), r"\(N, 5\) with N >= 1; got \(3, 6\)"),
        (np.zeros((0, 5), dtype=np.float32), r"got \(0, 5\)"),
        (np.zeros(5, dtype=np.float32), r"got \(5,\)"),
        ("nowhere.npy", "not found"),
        (np.full((3, 5), "1"), "rgb: ndarray holds <U1 values, expected numbers"),
        (np.full((3, 5), None), "rgb: ndarray holds object values"),
        (np.ones((3, 5), complex), "holds complex128 values"),
        (torch.ones((3, 5), dtype=torch.complex64), "holds complex64 values"),
        (np.full((3, 5), 1e300), "infinite"),
        (np.ma.masked_less(np.arange(15.0).reshape(3, 5), 2), "rgb: MaskedArray holds masked values"),
        ([[1.0, 2.0], [3.0]], "rgb: list is not an array of numbers"),
        (None, "rgb: NoneType holds object values"),
    ],
)
def test_an_unusable_modality_is_left_out_with_the_reason(run: Path, bad, reason: str) -> None:
    predictor = load(run)
    sound = clip(run, "test0")["sound"]
    found = predictor.predict_one({"rgb": bad, "sound": sound})
    assert found.probabilities == predictor.predict_one({"sound": sound}).probabilities
    with pytest.raises(Unusable, match=reason):
        predictor.predict_one({"rgb": bad})


@pytest.mark.parametrize("bad", [np.zeros((3, 5)), torch.zeros(3, 5), None, 7, [np.zeros((3, 5))]], ids=type)
def test_what_is_no_clip_is_an_error_that_says_what_is(run: Path, bad) -> None:
    with pytest.raises(ValueError, match=r"a clip is (ndarray|Tensor|NoneType|int); expected .* \{'rgb': features"):
        load(run).predict(bad)


def test_an_unknown_modality_is_an_error_with_the_nearest_match(run: Path) -> None:
    with pytest.raises(ValueError, match="unknown modality 'rbg'; did you mean 'rgb'"):
        load(run).predict_one({"rbg": np.zeros((3, 5))})


def test_a_media_file_is_refused_by_a_model_of_features_made_elsewhere(run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(Unusable, match="trained on features computed elsewhere"):
        load(run).predict_one(tmp_path / "a.mp4")


EXTRACTOR = """
import numpy as np
SOURCE = "video"
def extract(path, *, width: int):
    number, = path.read_text().split()
    return np.full((3, width), float(number), dtype=np.float32)
"""


@pytest.fixture
def raw(run: Path, tmp_path: Path) -> Path:
    """The run as if rgb were made from the column `video` and sound from `audio`, and files that hold one number."""
    (tmp_path / "mine.py").write_text(EXTRACTOR)
    made = {
        name: {"extractor": str(tmp_path / "mine.py"), "source": source, "width": tiny.FEATURES[name]}
        for name, source in {"rgb": "video", "sound": "audio"}.items()
    }
    shutil.copytree(run, tmp_path / "raw")
    facts = json.loads((run / "model.json").read_text()) | {"extract": {"features": made}}
    (tmp_path / "raw" / "model.json").write_text(json.dumps(facts))
    for name, number in {"a.mp4": 1, "b.mp4": -1, "a.wav": 2, "b.wav": -2}.items():
        (tmp_path / name).write_text(str(number))
    return tmp_path / "raw"


def filled(rgb: float | None, sound: float | None) -> dict[str, np.ndarray]:
    values = {"rgb": rgb, "sound": sound}
    return {name: np.full((3, tiny.FEATURES[name]), x) for name, x in values.items() if x is not None}


def test_each_modality_of_a_raw_manifest_is_made_from_its_own_column(raw: Path, capsys) -> None:
    manifest = raw.parent / "new.csv"
    manifest.write_text("id,cover,audio,video\none,c.jpg,a.wav,b.mp4\ntwo,c.jpg,,a.mp4\nthree,c.jpg,,\n")
    assert show(raw, [manifest], top=1, as_json=True, trust_code=True) == 1
    one, two, three = map(json.loads, capsys.readouterr().out.splitlines())
    predictor = load(raw, trust_code=True)
    assert one == {"clip": "one", **predictor.predict_one(filled(-1, 2)).to_json()}
    assert two == {"clip": "two", **predictor.predict_one(filled(1, None)).to_json()}
    assert two["missing"] == {"sound": "not given"}
    assert three == {"clip": "three", "error": "rgb, sound: not given"}


def test_offline_a_clip_elsewhere_is_an_error(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """Named by a manifest, or by a line of standard input; a file that the caller names is read."""
    (tmp_path / "in").mkdir()
    for place in ("in/x.npy", "out.npy"):
        np.save(tmp_path / place, np.ones((3, 4), dtype=np.float32))
    manifest = tmp_path / "in/m.csv"
    manifest.write_text("id,sound\nin,x.npy\nup,../out.npy\nweb,https://localhost:9/x.npy\n")
    monkeypatch.chdir(tmp_path / "in")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"sound": "x.npy"}\n{"sound": "../out.npy"}\n'))
    assert show(run, [manifest, Path("-")], top=1, as_json=True, trust_code=False, roots=[]) == 3
    lines = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert ["error" in line for line in lines] == [False, True, True, False, True]
    assert "out.npy: does not lie in" in lines[1]["error"]
    assert "--offline reads no other" in lines[4]["error"]
    assert show(run, [manifest], top=1, as_json=True, trust_code=False, roots=[tmp_path]) == 1


def test_offline_a_table_of_the_run_that_lies_elsewhere_is_not_read(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    facts = json.loads((copy / "model.json").read_text())
    (tmp_path / "words.txt").write_text("a 1 2 3 4\n")
    spec = {"extractor": "text", "source": "said", "table": str(tmp_path / "words.txt")}
    (copy / "model.json").write_text(json.dumps(facts | {"extract": {"features": {"sound": spec}}}))
    with pytest.raises(Unusable, match=r"words\.txt: does not lie in .*run; --offline reads no other folder"):
        show(copy, [tmp_path / "said.txt"], top=1, as_json=True, trust_code=False, roots=[])


def test_a_manifest_without_a_column_that_the_model_reads_is_an_error(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("id,film\none,a.mp4\n")
    with pytest.raises(ValueError, match=r"no column is one of rgb, sound, video, audio, .* columns: id, film"):
        show(raw, [tmp_path / "new.csv"], top=1, as_json=True, trust_code=True)


def test_a_clip_may_name_the_columns_that_features_were_made_from(raw: Path) -> None:
    predictor = load(raw, trust_code=True)
    given = {"video": raw.parent / "a.mp4", "audio": str(raw.parent / "b.wav")}
    assert predictor.predict_one(given) == predictor.predict_one(filled(1, -2))
    features = filled(3, None)
    assert predictor.predict_one(given | features) == predictor.predict_one(filled(3, -2)), "features come first"
    found = predictor.predict_one(features | {"audio": np.zeros((3, 4))})
    assert found.missing == {"sound": "not given, and 'audio' is not a media file"}


@pytest.fixture
def sensor(raw: Path) -> Path:
    """The raw run as if sound were made from the readings in the column `wrist`."""
    facts = json.loads((raw / "model.json").read_text())
    facts["extract"]["features"]["sound"] = {"extractor": "series", "source": "wrist", "columns": ["a", "a", "a", "a"]}
    (raw / "model.json").write_text(json.dumps(facts))
    (raw.parent / "x.csv").write_text("a,note\n2,1\n2,1\n2,1\n")
    return raw


def test_a_csv_is_read_as_its_source_where_readings_are_one(sensor: Path) -> None:
    """rgb is made from films, so its .csv holds features."""
    (sensor.parent / "rgb.csv").write_text("1,1,1,1,1\n" * 3)
    predictor = load(sensor, trust_code=True)
    expected = predictor.predict_one(filled(1, 2))
    for column in ("sound", "wrist"):
        assert predictor.predict_one({"rgb": sensor.parent / "rgb.csv", column: sensor.parent / "x.csv"}) == expected


@pytest.mark.parametrize("text", [None, "id,a\n7,2\n7,2\n7,2\n", "# device 17\na;b\n2;1\n2;1\n2;1\n"])
def test_a_table_of_readings_is_a_clip_and_a_manifest_is_not(sensor: Path, capsys, text: str | None) -> None:
    file, manifest = sensor.parent / "x.csv", sensor.parent / "new.csv"
    if text:
        file.write_text(text)
    manifest.write_text(f"id,wrist\none,{file.name}\n")
    assert show(sensor, [file, manifest], top=1, as_json=True, trust_code=True) == 0
    clip, row = map(json.loads, capsys.readouterr().out.splitlines())
    expected = load(sensor, trust_code=True).predict_one(filled(None, 2))
    assert clip == {"clip": str(file), **expected.to_json()}
    assert row == {"clip": "one", **expected.to_json()}


def test_a_broken_manifest_is_no_table_of_readings(sensor: Path) -> None:
    (sensor.parent / "new.csv").write_text("id,wrist\none,x.csv,\ntwo,x.csv,y.csv\n")
    with pytest.raises(ValueError, match="line 3: 3 cells, the header has 2"):
        show(sensor, [sensor.parent / "new.csv"], top=1, as_json=True, trust_code=True)


def test_a_moved_run_predicts_without_its_data(run: Path, tmp_path: Path) -> None:
    given = arrays(run, "test0")
    before = load(run).predict_one(given)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("model.json", "model.safetensors", "calibration.json"):
        shutil.copy(run / name, moved / name)
    assert load(moved).predict_one(given) == before


def test_probabilities_are_calibrated_on_the_validation_split_and_labels_stay(run: Path) -> None:
    noted = json.loads((run / "calibration.json").read_text())
    assert noted["clips"] == 4
    assert noted["loss"] <= noted["loss_before"]
    predictor, raw = load(run), load(run)
    raw.calibration = None
    assert predictor.temperature == noted["temperature"] != 1
    given = clip(run, "test0")
    said, plain = predictor.predict_one(given), raw.predict_one(given)
    assert said.label == plain.label
    scaled = (torch.tensor(list(plain.probabilities.values())).log() / noted["temperature"]).softmax(0)
    assert list(said.probabilities.values()) == pytest.approx(scaled.tolist(), abs=1e-5)


def test_a_run_without_a_temperature_is_calibrated_by_eval_but_not_on_its_test_split(run: Path, tmp_path: Path) -> None:
    noted = json.loads((run / "calibration.json").read_text())
    old = shutil.copytree(run, tmp_path / "old")
    (old / "calibration.json").unlink()
    assert load(old).temperature == 1
    with pytest.raises(ValueError, match="must not be fitted to the test split"):
        evaluate(old, calibrated=True)
    assert evaluate(old, split="valid", calibrated=True)["temperature"] == pytest.approx(noted["temperature"], rel=1e-3)
    assert load(old).temperature == pytest.approx(noted["temperature"], rel=1e-3)


def test_clips_longer_than_any_in_training_are_predicted(run: Path) -> None:
    found = load(run).predict_one({name: np.tile(x, (9, 1)) for name, x in arrays(run, "test0").items()})
    assert all(np.isfinite(share) for share in found.probabilities.values())


def test_long_clips_are_cut_as_in_training(tmp_path: Path) -> None:
    config = tiny.with_data(tiny.config(tiny.write_set(tmp_path / "data"), epochs=1), max_length=3)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    given = arrays(run, "test0")
    assert len(given["sound"]) > 3
    predictor = load(run)
    assert predictor.predict_one(given) == predictor.predict_one({name: x[:3] for name, x in given.items()})


def test_clips_are_resampled_as_in_training(tmp_path: Path) -> None:
    config = tiny.with_data(tiny.config(tiny.write_set(tmp_path / "data"), epochs=1), resample={"sound": 4})
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    given = arrays(run, "test0")
    assert len(given["sound"]) != 4
    predictor = load(run)
    features, _ = predictor.features(given)
    assert len(features["sound"]) == 4
    ends = predictor.features({**given, "sound": given["sound"][[0, -1]]})[0]["sound"]
    torch.testing.assert_close(features["sound"][[0, -1]], ends[[0, -1]])


def test_without_normalisation_features_stay_as_they_are(tmp_path: Path) -> None:
    config = tiny.with_data(tiny.config(tiny.write_set(tmp_path / "data"), epochs=1), normalise=False)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    predictor = load(run)
    features, _ = predictor.features(clip(run, "test0"))
    assert {name: x.tolist() for name, x in features.items()} == {
        name: x.tolist() for name, x in arrays(run, "test0").items()
    }


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_other_tasks_predict_what_training_predicted(tmp_path: Path, task: str) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data", task=task), epochs=2)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    predictor = load(run)
    predictor.calibration = None
    for row in csv.DictReader((run / "predictions.csv").read_text().splitlines()):
        found = predictor.predict_one(clip(run, row["id"]))
        if task == "multilabel":
            assert found.label == row["predicted"]
            assert found.probabilities == pytest.approx({name: float(row[name]) for name in "abc"}, abs=1e-5)
        else:
            assert float(found.label) == pytest.approx(float(row["predicted"]), abs=1e-4)
            assert found.probabilities == {}


METHOD = """
from sparsefuse.methods.concat import build
raise_if_executed = {flag}
if raise_if_executed:
    raise SystemExit("executed")
"""


def test_a_run_with_code_of_its_own_is_refused_before_the_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = tmp_path / "mine.py"
    method.write_text(METHOD.format(flag=False))
    config = tiny.config(
        tiny.write_set(tmp_path / "data"),
        str(method),
        options={"dim": 10, "num_heads": 2, "fusion_depth": 1},
        epochs=1,
    )
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    given = arrays(run, "test0")
    assert load(run, trust_code=True).predict_one(given).label in "abc"
    monkeypatch.setattr("sys.argv", ["sparsefuse", "eval", str(run), "--trust-code"])
    main()
    assert evaluate(run, trust_code=True)["clips"] == 4
    method.write_text(METHOD.format(flag=True))
    with pytest.raises(ValueError, match=r"mine\.py; read it, then load with trust_code=True"):
        load(run)
    with pytest.raises(ValueError, match=r"\(--trust-code\)"):
        evaluate(run)


@pytest.mark.parametrize("missing", ["folder", "model.json", "model.safetensors"])
def test_what_is_no_run_folder_is_an_error_that_says_so(run: Path, tmp_path: Path, missing: str) -> None:
    copy = tmp_path / "run"
    if missing != "folder":
        shutil.copytree(run, copy)
        (copy / missing).unlink()
    reason = {
        "folder": "run folder .* not found",
        "model.json": "not a run folder",
        "model.safetensors": "no checkpoint",
    }
    with pytest.raises(FileNotFoundError, match=reason[missing]):
        load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windows": ...}, r"model\.json: windows is missing"),
        ({"features": {"rgb": 10**9, "sound": 4}}, r"features\.rgb is 1000000000; expected a whole number"),
        ({"options": {"dim": "wide"}}, r"model\.json does not describe a model that can be built"),
        ({"options": {"dims": 4}}, r"does not describe a model that can be built: .*'dims'"),
        (
            {"options": {"dim": 12, "num_heads": 2}},
            r"the model that model.json describes: embed.cls.0 has shape \(10,\), exp",
        ),
        ({"options": {"fusion_depth": 10**9}}, "it has far more weights than model.safetensors"),
        ({"options": {"dim": 10**6, "num_heads": 2}}, r"embed.cls.0 has shape \(10,\), expected \(1000000,\)"),
        ({"max_length": 10**6, "windows": 1000, "resample": {"rgb": 10**5}}, "one clip would cost .* GMACs"),
    ],
)
def test_a_damaged_model_json_is_a_sentence(run: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    facts = json.loads((copy / "model.json").read_text()) | change
    (copy / "model.json").write_text(json.dumps({name: value for name, value in facts.items() if value is not ...}))
    with pytest.raises(ValueError, match=message):
        load(copy)


def test_weights_without_the_normalisation_are_refused(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    found = checkpoint.load(copy / "model.safetensors")
    tensors = {name: t for name, t in found.tensors.items() if name != "std/rgb"}
    checkpoint.save(copy / "model.safetensors", tensors, found.facts)
    with pytest.raises(ValueError, match=r"std/rgb has shape none, expected \(5,\)"):
        load(copy)


@pytest.mark.parametrize("name", ["model/head.classify.weight", "mean/rgb", "std/sound"])
def test_weights_and_statistics_that_are_not_finite_are_refused_by_name(run: Path, tmp_path: Path, name: str) -> None:
    copy = tiny.spoilt(run, tmp_path / "run", {name: float("nan")})
    with pytest.raises(ValueError, match=f"{name} has NaN or infinite values"):
        load(copy)


def test_a_deviation_of_zero_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="std/rgb is 0; expected values above 0"):
        load(tiny.spoilt(run, tmp_path / "run", {"std/rgb": 0.0}))


@pytest.fixture
def extreme(run: Path, tmp_path: Path) -> Path:
    """The run with finite weights that make every output infinite."""
    return tiny.spoilt(run, tmp_path / "extreme", {"model/head.classify.weight": 3e38})


SAID = "the model's output is \\S+, not a finite number"


def test_a_prediction_that_is_not_finite_is_an_error_with_the_clips_name(extreme: Path, capsys) -> None:
    with pytest.raises(Unusable, match=SAID):
        load(extreme).predict_one({"sound": np.ones((3, 4))})
    manifest = extreme.parent / "new.csv"
    np.save(extreme.parent / "x.npy", np.ones((3, 4), dtype=np.float32))
    manifest.write_text("id,sound\nfirst,x.npy\n")
    assert show(extreme, [manifest], top=1, as_json=True, trust_code=False) == 1
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["clip"] == "first"
    assert re.match(SAID, line["error"])


def test_an_explanation_of_what_is_not_finite_is_an_error(extreme: Path) -> None:
    with pytest.raises(Unusable, match=SAID):
        explain(extreme, {"sound": np.ones((3, 4))})


def test_scores_of_predictions_that_are_not_finite_are_an_error_with_the_clips_name(extreme: Path) -> None:
    with pytest.raises(ValueError, match=rf"^clip test\d: {SAID}"):
        evaluate(extreme)


def test_evaluating_the_test_split_gives_the_scores_of_training(run: Path) -> None:
    found = evaluate(run)
    assert (found.pop("clips"), found.pop("skipped")) == (4, 0)
    assert found == pytest.approx(json.loads((run / "result.json").read_text())["test"], abs=1e-5)
    valid = evaluate(run, split="valid")
    assert valid["loss"] == pytest.approx(json.loads((run / "result.json").read_text())["valid"]["loss"], abs=1e-5)


def test_another_manifest_is_scored_whole_and_what_is_unusable_is_counted(run: Path, tmp_path: Path, caplog) -> None:
    other = tiny.write_set(tmp_path / "other", (2, 2, 3), seed=5)
    tiny.edit(other, train0={"label": "never seen"}, test2={"sound": "features/none.npy"})
    found = evaluate(run, manifest=other)
    assert (found["clips"], found["skipped"]) == (6, 2)
    assert "2 clips or streams left out; the first is test2: features/none.npy" in caplog.text


def mixed(run: Path, folder: Path) -> tuple[Path, Path]:
    """A manifest of clips under other names: 3 of training, 1 of validation, 4 of test; and one of the latter alone."""
    ids = [f"train{i}" for i in range(3)] + ["valid0", *(f"test{i}" for i in range(4))]
    lines = []
    for i, old in enumerate(ids):
        cells = []
        for name in tiny.FEATURES:
            file = run.parent / f"data/features/{old}-{name}.npy"
            if file.exists():
                shutil.copyfile(file, folder / f"{i}{name}.npy")
            cells.append(f"{i}{name}.npy" if file.exists() else "")
        lines.append(",".join([f"c{i}", *cells, "abc"[int(old[-1]) % 3]]))
    for name, part in (("all.csv", lines), ("new.csv", lines[4:])):
        (folder / name).write_text("\n".join(["id,rgb,sound,label", *part]) + "\n")
    return folder / "all.csv", folder / "new.csv"


def test_clips_of_training_are_counted_and_the_others_scored_apart(run: Path, tmp_path: Path, caplog) -> None:
    every, new = mixed(run, tmp_path)
    found, alone = evaluate(run, manifest=every), evaluate(run, manifest=new)
    assert (found["clips"], found["seen"], found["new"]) == (8, 4, 4)
    assert "the model was trained or validated on 4 of these 8 clips; the others are scored apart" in caplog.text
    assert found["new_loss"] == pytest.approx(alone["loss"], abs=1e-5)
    assert found["new_top1"] == alone["top1"] == evaluate(run)["top1"]
    assert "seen" not in alone


def test_a_temperature_is_fitted_to_new_clips_alone(run: Path, tmp_path: Path) -> None:
    every, new = mixed(run, tmp_path)
    one, other = (shutil.copytree(run, tmp_path / name) for name in ("one", "other"))
    fitted = evaluate(one, manifest=every, calibrated=True)["temperature"]
    assert fitted == pytest.approx(evaluate(other, manifest=new, calibrated=True)["temperature"], rel=1e-3)
    every.write_text("".join(every.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(ValueError, match="must not be fitted to clips of training; all of"):
        evaluate(one, manifest=every, calibrated=True)


def test_a_run_that_cannot_tell_its_clips_says_so(run: Path, tmp_path: Path, caplog) -> None:
    shared = shutil.copytree(run, tmp_path / "shared")
    (shared / "seen.txt").unlink()
    assert "seen" not in evaluate(shared, manifest=mixed(run, tmp_path)[0])
    assert "does not say which clips it was trained on" in caplog.text


def test_one_file_for_all_that_gives_nothing_says_why_once(run: Path, monkeypatch) -> None:
    predictor = load(run)

    def missing(*_):
        raise Unusable("gone.mp4: missing")

    monkeypatch.setattr(predictor, "read", missing)
    with pytest.raises(Unusable, match=r"^gone\.mp4: missing$"):
        predictor.predict_one("gone.mp4")
    with pytest.raises(Unusable, match=r"^rgb, sound: gone\.mp4: missing$"):
        predictor.predict_one({"rgb": "gone.mp4", "sound": "gone.mp4"})
