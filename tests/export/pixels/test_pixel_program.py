"""The exported program on pixels says what `predict` says, from pictures as they are measured."""

import json

import numpy as np
import pytest
import torch

from pixel_runs import predictor_of, run_of, scene
from pngs import write_png
from sparsefuse.config.pixels import PictureStream
from sparsefuse.export.artefact import export
from sparsefuse.export.pixels import artefact
from sparsefuse.export.pixels.artefact import export_pixels
from sparsefuse.export.pixels.program import PixelProgram
from sparsefuse.export.pixels.scenes import ParityScene, arguments, noise, of_data


def given(pictures, *, lost=None):
    """Arguments by hand: depth in metres, colors from 0 to 1, each with its mask."""
    x = {
        "depth": torch.from_numpy(pictures["depth"].astype(np.float32) / 1000)[None, ..., None],
        "rgb": torch.from_numpy(pictures["rgb"] / np.float32(255))[None],
    }
    masks = {name: torch.full(part.shape[:3], name != lost) for name, part in x.items()}
    return [tensor for name in ("depth", "rgb") for tensor in (x[name], masks[name])]


@pytest.mark.parametrize("lost", [None, "depth", "rgb"])
def test_the_program_says_what_predict_says(lost):
    predictor, pictures = predictor_of("segment", "tokenfusion"), scene()
    program = PixelProgram(predictor).eval()
    with torch.no_grad():
        logits, labels = program(*given(pictures, lost=lost))
    expected = predictor.predict({name: x for name, x in pictures.items() if name != lost})
    np.testing.assert_array_equal(labels[0], expected.labels)
    assert logits.shape == (1, 32, 40, 3)
    assert program.input_names == ["depth", "depth_mask", "rgb", "rgb_mask"]


@pytest.mark.parametrize("kind", ["color", "depth", "normal"])
def test_a_translation_is_in_its_units(kind):
    predictor, pictures = predictor_of("translate", target=PictureStream(kind, unit=0.001)), scene()
    program = PixelProgram(predictor).eval()
    with torch.no_grad():
        (picture,) = program(*given(pictures))
    np.testing.assert_allclose(picture[0], predictor.predict(pictures).picture, atol=1e-5)
    assert program.output_names == ["picture"]


def test_scenes_of_a_manifest_need_not_train(tmp_path):
    for name, pixels in scene().items():
        write_png(tmp_path / name / "a.png", pixels)
    write_png(tmp_path / "label/a.png", np.zeros((32, 40), np.uint8))
    (tmp_path / "m.csv").write_text("id,split,rgb,depth,label\na,test,rgb/a.png,depth/a.png,label/a.png\n")
    predictor = predictor_of()
    found = of_data(run_of(tmp_path / "run", predictor), predictor, manifest=tmp_path / "m.csv")
    assert [one.id for one in found.scenes] == ["a"]


def test_depth_that_is_nan_was_not_measured():
    program, arguments = PixelProgram(predictor_of()).eval(), given(scene())
    with torch.no_grad():
        expected = program(*arguments)[0]
        arguments[0] = torch.where(arguments[0] == 0, float("nan"), arguments[0])
        torch.testing.assert_close(program(*arguments)[0], expected)


def test_scenes_of_noise_lack_each_stream_in_turn_and_are_padded_together():
    predictor = predictor_of()
    scenes = noise(predictor).scenes
    assert [set(one.pictures) for one in scenes[::3]] == [{"depth", "rgb"}, {"rgb"}, {"depth"}]
    inputs = PixelProgram(predictor).inputs
    small = ParityScene("", {"rgb": torch.ones(3, 4, 3)})
    depth, depth_mask, rgb, rgb_mask = arguments([scenes[0], small], inputs)
    assert depth.shape == (2, 32, 40, 1)
    assert not depth_mask[1].any()
    assert depth_mask[0].all()
    assert rgb_mask[1].nonzero().tolist() == [[i, j] for i in range(3) for j in range(4)]
    assert rgb[1].sum() == 36


@pytest.mark.parametrize("options", [{"format": "pt2"}, {"int8": True}, {"with_features": True}])
def test_what_is_for_clips_alone_is_refused(options, tmp_path):
    run = run_of(tmp_path / "run", predictor_of())
    with pytest.raises(ValueError, match="is for clips"):
        export(run, **options)
    assert not (run / "export").exists()


@pytest.mark.slow
def test_what_the_exporter_cannot_do_is_said(tmp_path, monkeypatch):
    def fail(program, path):
        raise RuntimeError("an optimisation failed\nmore")

    monkeypatch.setattr(artefact, "write_onnx", fail)
    run = run_of(tmp_path / "run", predictor_of())
    with pytest.raises(ValueError, match=r"concat cannot be exported for any size yet: .*an optimisation failed$"):
        export(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "method"), [("segment", "tokenfusion"), ("segment", "sft"), ("translate", "unimodal")]
)
def test_a_file_says_what_the_run_says(task, method, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    predictor = predictor_of(task, method)
    run = run_of(tmp_path / "run", predictor)
    with pytest.raises(ValueError, match=r"end in \.onnx"):
        export_pixels(run, predictor, out=tmp_path / "model.pt2", tolerance=1e-4)
    exported = export_pixels(run, predictor, out=tmp_path / "model.onnx", tolerance=1e-4)
    assert exported.card.parity.max_difference <= 1e-4
    assert not exported.card.failures
    assert json.loads(exported.file.with_suffix(".json").read_text())["size"] == [32, 40]
    assert "ONNX Runtime" in str(exported)
    session = onnxruntime.InferenceSession(str(exported.file), providers=["CPUExecutionProvider"])
    pictures = scene(45, 33)  # another size than any that it was traced or checked with
    names = [node.name for node in session.get_inputs()]
    every = dict(zip(["depth", "depth_mask", "rgb", "rgb_mask"], given(pictures), strict=True))
    found = session.run(None, {name: every[name].numpy() for name in names})
    expected = predictor.predict(pictures)
    if task == "segment":
        assert (found[1][0] == expected.labels).mean() > 0.999
    else:
        np.testing.assert_allclose(found[0][0], expected.picture, atol=1e-4)
