"""A prediction says what it holds: as a PNG, a legend and a page."""

import io
import json

import av
import numpy as np
import pytest

from sparsefuse.inference.pixels.prediction import PixelPrediction
from sparsefuse.report.pixels.palette import hexadecimal, palette

NAMES = ("wall", "floor <1>", "chair")
LABELS = np.array([[0, 0, 2], [0, 2, 0]], np.uint8)


def labels(array=LABELS, names=NAMES):
    return PixelPrediction(array, None, names, None, {"depth": "not given"})


def picture(values, kind):
    return PixelPrediction(None, values.astype(np.float32), (), kind, {})


def read(content, format):
    with av.open(io.BytesIO(content)) as container:
        return next(container.decode(video=0)).to_ndarray(format=format)


def test_the_legend_has_the_classes_that_occur():
    colors = palette(3)
    assert labels().shares == pytest.approx({"wall": 4 / 6, "chair": 2 / 6})
    assert labels().legend() == [
        {"number": 0, "name": "wall", "color": hexadecimal(colors[0]), "share": 0.666667},
        {"number": 2, "name": "chair", "color": hexadecimal(colors[2]), "share": 0.333333},
    ]
    assert json.loads(json.dumps(labels().to_json()))["missing"] == {"depth": "not given"}
    np.testing.assert_array_equal(read(labels().png(), "rgb24"), np.array(colors, np.uint8)[LABELS])


def test_many_classes_are_numbers_of_16_bits():
    numbers = np.array([[0, 299]], np.uint16)
    np.testing.assert_array_equal(read(labels(numbers, tuple(map(str, range(300)))).png(), "gray16le"), numbers)


def test_depth_is_written_in_millimetres():
    found = picture(np.array([[[0.0], [1.2344]], [[2.5], [99.0]]]), "depth")
    assert read(found.png(), "gray16le").tolist() == [[0, 1234], [2500, 65535]]
    assert found.legend() == []
    assert found.shares == {}


def test_colors_and_normals_are_written_in_8_bits():
    assert read(picture(np.array([[[0.0, 0.5, 1.0]]]), "color").png(), "rgb24").tolist() == [[[0, 128, 255]]]
    assert read(picture(np.array([[[-1.0, 0.0, 0.0]]]), "normal").png(), "rgb24").tolist() == [[[0, 128, 128]]]
    assert read(picture(np.array([[[0.2]]]), "gray").png(), "gray").tolist() == [[51]]


def test_a_notebook_shows_names_as_text():
    page = labels()._repr_html_()
    assert "floor &lt;1&gt;" not in page  # it does not occur
    assert "chair 33.3 %" in page
    assert "without depth: not given" in page
    assert "floor &lt;1&gt; 100.0 %" in labels(np.ones((2, 2), np.uint8))._repr_html_()
