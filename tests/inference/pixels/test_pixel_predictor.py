"""A run on pictures answers for files and arrays of any size, alone or together, and says what it could not read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pixel_runs import CLASSES, STATS, predictor_of, run_of, scene
from sparsefuse.config.pixels import PictureStream
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.pixels.predictor import PixelPredictor, load_pixels
from sparsefuse.media.png import write_png


def fields_of(pictures):
    """What the model must see of `scene`, by hand."""
    rgb = torch.from_numpy(pictures["rgb"] / np.float32(255))
    metres = torch.from_numpy(pictures["depth"].astype(np.float32) / 1000)
    known = (metres > 0).float()
    depth = torch.stack([(metres - 2.0) / 0.5 * known, known], -1)
    return {"rgb": ((rgb - STATS["rgb"][0]) / 0.2)[None], "depth": depth[None]}


def test_labels_are_the_likeliest_classes_of_what_was_normalised():
    predictor, pictures = predictor_of(), scene()
    with torch.no_grad():
        expected = predictor.model(fields_of(pictures)).logits[0].argmax(2)
    found = predictor.predict(pictures)
    np.testing.assert_array_equal(found.labels, expected)
    assert found.labels.dtype == np.uint8
    assert found.picture is None
    assert found.missing == {}
    counts = {name: float((expected == i).float().mean()) for i, name in enumerate(CLASSES) if (expected == i).any()}
    assert len(counts) > 1
    assert found.shares == pytest.approx(counts)
    assert list(found.shares.values()) == sorted(found.shares.values(), reverse=True)


def test_files_say_what_arrays_say(tmp_path):
    predictor, pictures = predictor_of(), scene()
    files = {name: tmp_path / f"{name}.png" for name in pictures}
    for name, pixels in pictures.items():
        write_png(files[name], pixels)
    np.testing.assert_array_equal(predictor.predict(files).labels, predictor.predict(pictures).labels)


def test_scenes_together_are_as_alone():
    predictor = predictor_of("segment", "tokenfusion")
    scenes = [scene(seed=1), scene(20, 24, seed=2), {"rgb": scene(seed=3)["rgb"]}, scene(seed=4)]
    together = predictor.predict(scenes)
    for one, found in zip(scenes, together, strict=True):
        np.testing.assert_array_equal(found.labels, predictor.predict(one).labels)
    assert [found.missing for found in together] == [{}, {}, {"depth": "not given"}, {}]


def test_a_scene_that_cannot_be_read_stops_no_other(tmp_path):
    predictor = predictor_of()
    good, bad, none, more = predictor.results([
        scene(), {**scene(), "rgb": scene(16, 16)["rgb"]}, {"rgb": tmp_path / "none.png"}, scene(),
    ])  # fmt: skip
    np.testing.assert_array_equal(good.labels, more.labels)
    assert "depth 32 x 40, rgb 16 x 16" in str(bad)
    assert "none.png" in str(none)
    assert "depth: not given" in str(none)
    assert isinstance(bad, Unusable)
    with pytest.raises(Unusable, match="one size"):
        predictor.predict([scene(), {**scene(), "rgb": scene(16, 16)["rgb"]}])


def test_a_large_picture_is_read_in_tiles():
    predictor, seen = predictor_of(), []
    predictor.model.register_forward_pre_hook(lambda _, given: seen.append(given[0]["rgb"].x.shape[1:3]))
    found = predictor.predict(scene(100, 70))
    assert found.size == (100, 70)
    assert set(seen) == {(32, 40)}
    seen.clear()
    predictor.predict(scene(47, 59))  # not yet half as large again
    assert seen == [(47, 59)]


def test_a_run_that_resizes_answers_in_the_size_of_the_file():
    predictor, seen = predictor_of(size=(16, 20), height=16, width=20), []
    predictor.model.register_forward_pre_hook(lambda _, given: seen.append(given[0]["rgb"].x.shape[1:3]))
    found = predictor.predict(scene(64, 80))
    assert seen == [(16, 20)]
    assert found.size == (64, 80)


def test_classes_in_a_larger_size_are_those_of_logits_in_that_size():
    predictor, logits = predictor_of(height=8, width=10), torch.randn(8, 10, 3)
    larger = torch.nn.functional.interpolate(
        logits.movedim(2, 0)[None], (30, 44), mode="bilinear", align_corners=False, antialias=True
    )
    np.testing.assert_array_equal(predictor._said(logits, (30, 44)), larger[0].argmax(0))


@pytest.mark.parametrize("unit", [0.001, 1.0])
def test_depth_whose_unit_nobody_stated_is_what_a_new_file_says(unit, tmp_path):
    """Whole numbers are millimetres and fractions metres, whichever of them the run learned from."""
    one, pictures = predictor_of(), scene()
    streams = {**one.facts.streams, "depth": PictureStream("depth", unit=unit)}
    guessing = PixelPredictor(one.model, replace(one.facts, streams=streams, guessed=["depth"]), one.stats)
    expected = one.predict(pictures).labels
    write_png(tmp_path / "depth.png", pictures["depth"])
    for depth in (pictures["depth"], pictures["depth"] / 1000, tmp_path / "depth.png"):
        assert np.array_equal(guessing.predict({**pictures, "depth": depth}).labels, expected)


@pytest.mark.parametrize(("kind", "shape"), [("color", (32, 40, 3)), ("gray", (32, 40, 1)), ("depth", (32, 40, 1))])
def test_translation_is_in_the_units_of_its_target(kind, shape):
    predictor, pictures = predictor_of("translate", target=PictureStream(kind, unit=0.001)), scene()
    with torch.no_grad():
        expected = predictor.model(fields_of(pictures)).logits[0]
    expected = 2.0 * expected + 3.0 if kind == "depth" else 0.5 * expected + 0.5  # of 1 to 5 metres
    found = predictor.predict(pictures)
    assert found.labels is None
    assert found.picture.shape == shape
    high = None if kind == "depth" else 1.0
    np.testing.assert_allclose(found.picture, expected.clamp(0, high), atol=1e-5)
    assert found.shares == {}


def test_a_run_folder_says_what_its_model_said(tmp_path):
    predictor, pictures = predictor_of(), scene()
    loaded = load_pixels(run_of(tmp_path / "run", predictor))
    np.testing.assert_array_equal(loaded.predict(pictures).labels, predictor.predict(pictures).labels)


def test_a_scene_says_all_that_is_wrong_with_it_at_once_and_each_stream_once():
    empty = np.full((4, 4), np.nan, np.float32)
    with pytest.raises(Unusable) as raised:
        predictor_of().predict({"rgb": np.full((4, 4, 3), np.nan, np.float32), "depth": np.ma.masked_invalid(empty)})
    assert str(raised.value) == (
        "depth: has masked values; give 0 where nothing was measured; rgb: 48 of 48 values are NaN or infinite"
    )
    fields = {"rgb": torch.zeros(4, 4, 3), "depth": torch.zeros(2, 4, 2)}
    with pytest.raises(Unusable, match=r"got rgb 4 x 4, depth 2 x 4 \(rows x columns\); heat: heat.png is damaged$"):
        predictor_of().present(fields, {"heat": "heat.png is damaged", "sound": "not given"})


def test_an_output_that_is_not_finite_is_none():
    predictor = predictor_of()
    next(predictor.model.head.parameters()).data.fill_(float("nan"))
    with pytest.raises(Unusable, match="not finite"):
        predictor.predict(scene())


@pytest.mark.parametrize(
    ("pictures", "error", "why"),
    [
        ({"color": np.zeros((4, 4, 3), np.uint8)}, ValueError, "unknown stream .color."),
        ("a.png", ValueError, "a scene is str"),
        ({"rgb": np.full((4, 4, 3), np.nan, np.float32)}, Unusable, "rgb: 48 of 48 values are NaN"),
        ({"rgb": np.ma.masked_less(np.zeros((4, 4)), 1)}, Unusable, "masked"),
        ({"rgb": [["a"]]}, Unusable, "not numbers"),
        ({}, Unusable, "depth: not given; rgb: not given"),
    ],
)
def test_other_input_is_refused(pictures, error, why):
    with pytest.raises(error, match=why):
        predictor_of().predict([pictures] if isinstance(pictures, str) else pictures)
