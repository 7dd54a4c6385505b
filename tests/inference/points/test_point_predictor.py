"""Boxes of new scenes, by arrays, by files, and by the verbs `predict` and `eval`."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sparsefuse
from point_runs import camera, cloud, picture, predictor_of, run_of, scenes_in
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.evaluate import evaluate
from sparsefuse.inference.points.predictor import PointPredictor
from sparsefuse.inference.show import show_any
from sparsefuse.layers.points.nouns import Camera, Cloud
from sparsefuse.media.still import read_still
from sparsefuse.runs.next_steps import next_steps


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.boxes, b.boxes, strict=True))


def test_arrays_and_files_give_the_same_boxes(tmp_path):
    scenes_in(tmp_path)
    predictor, values = predictor_of(), cloud()
    values[:, 3:] = (255 * values[:, 3:]).astype(np.uint8) / np.float32(255)
    arrays = predictor.predict({"cloud": values, "cameras": [camera()], "rgb": [picture()]})
    files = predictor.predict({"cloud": tmp_path / "cloud/a.npz", "cameras": tmp_path / "cameras/a.json"})
    named = predictor.predict({"cloud": tmp_path / "cloud/a.npz", "cameras": [camera()],
                               "rgb": [tmp_path / "rgb/a.png"]})  # fmt: skip
    assert same(arrays, files)
    assert same(arrays, named)
    assert not arrays.missing
    assert len(arrays.view.pictures) == 1


def test_masked_values_are_refused_not_read():
    predictor, values = predictor_of(), cloud()
    masked = np.ma.masked_array(values, mask=np.arange(values.size).reshape(values.shape) == 1)
    with pytest.raises(Unusable, match="cloud: has masked values"):
        predictor.predict({"cloud": masked})
    plain = np.ma.masked_array(values)
    assert same(predictor.predict({"cloud": plain}), predictor.predict({"cloud": values}))
    seen = predictor.predict(
        {"cloud": values, "cameras": [camera()], "rgb": [np.ma.masked_equal(picture(), picture().max())]}
    )
    assert "masked values" in seen.missing[0]


def test_boxes_are_those_of_the_model():
    predictor, values = predictor_of(num_points=300), cloud()
    found = predictor.predict({"cloud": values, "cameras": [camera()], "rgb": [picture()]})
    xyz = torch.from_numpy(values[None, :, :3])
    floor = np.quantile(values[:, 2], 0.01)
    mean, std = predictor.stats["pictures"]
    pixels = (torch.from_numpy(picture()) / 255 - mean) / std
    one = Camera(*(torch.tensor(camera()[name])[None, None] for name in ("K", "pose", "size")))
    with torch.no_grad():
        whole = Cloud(xyz, xyz[..., 2:] - float(floor), torch.ones(1, 300, dtype=torch.bool))
        boxes = predictor.model.boxes(predictor.model(whole, pixels[None, None], one))
    order = boxes.score[0].masked_fill(~boxes.mask[0], -1).argsort(descending=True)[: int(boxes.mask.sum())]
    torch.testing.assert_close(found.boxes.centre, boxes.centre[:, order])
    torch.testing.assert_close(found.boxes.score, boxes.score[:, order])
    assert found.boxes.mask.all()


def test_pictures_change_boxes_and_may_be_missing():
    predictor, values = predictor_of(), cloud()
    with_picture = predictor.predict({"cloud": values, "cameras": [camera()], "rgb": [picture()]})
    without = predictor.predict({"cloud": values})
    wrong = predictor.predict({"cloud": values, "cameras": [camera()], "rgb": [picture(height=31)]})
    blind = predictor.predict({"cloud": values, "rgb": [picture()]})
    assert not same(with_picture, without)
    assert same(wrong, without)
    assert same(blind, without)
    assert "has 31 x 40 pixels, its camera says 32 x 40" in wrong.missing[0]
    assert "has no cameras" in blind.missing[0]


def test_a_model_of_points_alone_reads_no_picture():
    predictor, values = predictor_of("points"), cloud()
    found = predictor.predict({"cloud": values, "cameras": [camera()], "rgb": [picture()]})
    assert not found.view.pictures
    assert same(found, predictor.predict({"cloud": values[:, :3]}))


def test_columns_beside_the_places_may_be_other_than_colors():
    predictor, values = predictor_of(), cloud()
    normals = np.concatenate([values[:, :3], values[:, 3:] - 0.9], 1)
    assert same(predictor.predict({"cloud": normals}), predictor.predict({"cloud": values[:, :3]}))
    with pytest.raises(Unusable, match="the cloud: rgb"):
        predictor_of(channels=["color"]).predict({"cloud": normals})


@pytest.mark.parametrize("line", [
    {"cloud": "in/cloud/a.npz", "cameras": "in/cameras/a.json", "root": ".."},
    {"cloud": "in/cloud/a.npz", "cameras": "in/cameras/a.json", "root": "/", "rgb": ["in/rgb/a.png"]},
    {"cloud": "in/cloud/a.npz", "cameras": "in/cameras/away.json"},
])  # fmt: skip
@pytest.mark.slow
def test_offline_reads_no_picture_that_lies_elsewhere(tmp_path, monkeypatch, line, capsys):
    scenes_in(tmp_path / "here/in")
    (tmp_path / "here/in/cameras/away.json").write_text(json.dumps([camera("../../away.png")]))
    run = run_of(tmp_path / "run", predictor_of())
    monkeypatch.chdir(tmp_path / "here")
    for text, refused in ((line, 1), ({"cloud": "in/cloud/a.npz", "cameras": "in/cameras/a.json"}, 0)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(text) + "\n"))
        assert show_any(run, [Path("-")], top=1, as_json=False, roots=[], device="cpu") == refused
        assert ("--offline reads no other folder" in capsys.readouterr().out) == bool(refused)


@pytest.mark.parametrize(
    ("scene", "why"),
    [
        ({"cloud": np.zeros((0, 3))}, "has no point"),
        ({"cloud": np.full((4, 3), np.nan)}, "NaN or infinite"),
        ({"cloud": np.zeros((4, 2))}, r"shape \(4, 2\)"),
        ({"cloud": "nowhere.npz"}, "not found"),
        ({}, "cloud: not given"),
    ],
)
def test_scenes_that_cannot_be_read_say_why(scene, why):
    with pytest.raises(Unusable, match=why):
        predictor_of().predict(scene)


def test_rows_of_a_cloud_that_are_nowhere_change_no_prediction():
    values, predictor = cloud(), predictor_of()
    wide = np.insert(values, [0, 7, len(values)], np.nan, 0)
    one, other = (predictor.predict({"cloud": each}).to_json() for each in (values, wide))
    assert one == other


def test_unknown_parts_of_a_scene_are_refused():
    with pytest.raises(ValueError, match="did you mean 'cameras'"):
        predictor_of().predict({"cloud": cloud(), "camera": []})


def test_the_picture_of_a_prediction_is_drawn(tmp_path):
    found = predictor_of().predict({"cloud": cloud(), "cameras": [camera()], "rgb": [picture()]})
    (tmp_path / "a.png").write_bytes(found.png(0.0))
    height, width = read_still(tmp_path / "a.png").values.shape[:2]
    assert width > 1.5 * height  # from above, and the picture beside it
    assert found._repr_html_().count("<img") == 2


def test_predict_writes_boxes_and_pictures(tmp_path, capsys):
    run, manifest = run_of(tmp_path / "run", predictor_of()), scenes_in(tmp_path / "data")
    (tmp_path / "data/cloud/b.npz").write_bytes(b"no archive")
    assert show_any(run, [manifest], top=3, as_json=True) == 1
    good, bad = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert good["scene"] == "a"
    assert "cloud/b.npz" in bad["error"]
    written = json.loads((run / "predicted/a.json").read_text())
    assert written == good["boxes"]
    assert read_still(run / "predicted/a.png").values.shape[2] == 3
    assert "b.npz" in (run / "predicted/skipped.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["folder", "parts", "backwards", "cloud", "lines"])
def test_scenes_may_be_named_in_several_ways(tmp_path, capsys, monkeypatch, how):
    run, data = run_of(tmp_path / "run", predictor_of()), tmp_path / "data"
    scenes_in(data, ("a",))
    parts = {"cloud": str(data / "cloud/a.npz"), "cameras": str(data / "cameras/a.json")}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(parts) + "\nnonsense\n"))
    pairs = [f"{part}={file}" for part, file in parts.items()]
    files = {"folder": [data], "parts": pairs, "backwards": pairs[::-1], "cloud": [parts["cloud"]], "lines": ["-"]}[how]
    lost = show_any(run, [Path(file) for file in files], top=3, as_json=True, out=tmp_path / "out")
    assert lost == (how == "lines")
    found = json.loads(capsys.readouterr().out.splitlines()[0])
    scene = {"cloud": parts["cloud"]} if how == "cloud" else parts
    assert found["boxes"] == predictor_of().predict(scene).to_json()["boxes"]
    assert not found["missing"]


def test_files_that_are_no_scenes_are_refused(tmp_path):
    run = run_of(tmp_path / "run", predictor_of())
    with pytest.raises(FileNotFoundError, match=r"there is no such file; expected cloud=a.npz"):
        show_any(run, [tmp_path / "x.npz"], top=3, as_json=False)
    (tmp_path / "few-rooms").mkdir()
    with pytest.raises(FileNotFoundError, match=r"few-roms: there is no such file; did you mean .*few-rooms\?$"):
        show_any(run, [tmp_path / "few-roms"], top=3, as_json=False)
    with pytest.raises(ValueError, match="--window and --hop are for clips"):
        show_any(run, [tmp_path], top=3, as_json=False, window=2.0)


@pytest.mark.slow
def test_eval_scores_a_manifest(tmp_path):
    run, manifest = run_of(tmp_path / "run", predictor_of()), scenes_in(tmp_path / "data")
    scores = evaluate(run, manifest=manifest)
    assert scores["scenes"] == 2
    assert 0 <= scores["map25"] <= 1
    assert {"ap25_crate", "ap25_drum", "map50", "loss"} <= scores.keys()
    manifest.write_text(manifest.read_text().replace(",train,", ",test,"))
    assert evaluate(run, manifest=manifest) == scores, "no row need be of training"


def test_load_gives_what_detects(tmp_path):
    predictor = sparsefuse.load(run_of(tmp_path / "run", predictor_of()))
    assert isinstance(predictor, PointPredictor)
    assert same(predictor.predict({"cloud": cloud()}), predictor_of().predict({"cloud": cloud()}))


def test_what_comes_after_training_is_named(tmp_path):
    run = run_of(tmp_path / "run", predictor_of())
    scenes = tmp_path / "manifest.csv"
    assert next_steps(run, scenes) == [f"sparsefuse predict {run} {scenes}", f"sparsefuse eval {run}"]
