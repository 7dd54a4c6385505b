"""A detector as an ONNX file finds the same boxes."""

import json

import pytest

from point_runs import predictor_of, run_of, scenes_in
from sparsefuse.config import Config, Data
from sparsefuse.config.points import Points
from sparsefuse.export.artefact import export
from sparsefuse.export.points.artefact import parity, trained
from sparsefuse.export.points.program import PointProgram
from sparsefuse.export.points.scenes import arguments, noise, of_data
from sparsefuse.runs.folder import RunFolder

METHODS = ("points", "painted", "late", "tokenfusion")


@pytest.mark.parametrize("method", METHODS)
def test_the_program_finds_what_the_model_finds(method):
    predictor = predictor_of(method, num_points=300)
    program = PointProgram(predictor).eval()
    scenes = noise(predictor, program).scenes
    assert len(scenes) == (2 if method == "points" else 3)
    assert parity(predictor, program, lambda given: program(*given), scenes) < 1e-5


def test_scenes_of_a_manifest_need_not_train(tmp_path):
    manifest, predictor = scenes_in(tmp_path), predictor_of("points")
    manifest.write_text(manifest.read_text().replace(",train,", ",test,"))
    found = of_data(run_of(tmp_path / "run", predictor), predictor, PointProgram(predictor), manifest=manifest)
    assert [one.id for one in found.scenes] == ["a", "b"]


def test_pictures_that_are_not_shown_change_nothing():
    predictor = predictor_of("tokenfusion", num_points=300)
    program = PointProgram(predictor).eval()
    blind = noise(predictor, program).scenes[2]
    given = dict(zip(program.input_names, arguments(blind, program, predictor.stats), strict=True))
    given["pictures"] = given["pictures"] + 0.7
    boxes, scores = program(*given.values())
    expected = trained(predictor, blind)
    assert (boxes - expected[0]).abs().max() < 1e-5
    assert (scores - expected[1]).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_file_finds_what_the_model_finds(tmp_path, method):
    pytest.importorskip("onnxruntime")
    run = run_of(tmp_path / "run", predictor_of(method, num_points=300))
    data = Data(manifest=str(scenes_in(tmp_path / "data", ("a", "b", "c"))), task="detect")
    RunFolder(run).write(Config(data=data, points=Points(channels=["height"], num_points=300)))
    exported = export(run)
    assert exported.card.max_difference <= 1e-4
    assert exported.card.proposals == 8
    card = json.loads((run / "export/model.json").read_text())
    assert [one["name"] for one in card["inputs"]][:3] == ["xyz", "mask", "channels"]
    assert "keep the one with the highest score" in str(exported)


@pytest.mark.parametrize("option", [{"int8": True}, {"format": "pt2"}, {"with_features": True}])
def test_other_forms_are_refused(tmp_path, option):
    with pytest.raises(ValueError, match="a run on clouds is exported as ONNX in float32: leave it out"):
        export(run_of(tmp_path, predictor_of("points")), **option)
