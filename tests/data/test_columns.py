"""Data in memory as columns, as streams, and as a manifest that training reads."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sparsefuse.data.arrays import read_array
from sparsefuse.data.columns import STREAM, columns_of, streams_of, write_manifest
from sparsefuse.data.manifest import read_manifest
from sparsefuse.data.targets import targets_of

A, B = np.arange(6.0).reshape(2, 3), np.ones((4, 3))

FORMS = {
    "dict": {"rgb": [A, B], "label": ["x", "y"]},
    "tuples": {"rgb": (A, B), "label": ("x", "y")},
    "records": [{"rgb": A, "label": "x"}, {"rgb": B, "label": "y"}],
    "frame": pd.DataFrame({"rgb": [A, B], "label": ["x", "y"]}),
}


@pytest.mark.parametrize("given", FORMS.values(), ids=FORMS)
def test_tables_are_columns_of_their_names(given) -> None:
    found = columns_of(given)
    assert list(found) == ["rgb", "label"]
    assert found["label"] == ["x", "y"]
    assert [x.tolist() for x in found["rgb"]] == [A.tolist(), B.tolist()]


def test_a_record_may_lack_a_stream() -> None:
    found = streams_of(columns_of([{"rgb": A}, {"rgb": B, "sound": A}]))
    assert found.arrays["sound"][0] is None
    assert found.arrays["sound"][1].tolist() == A.tolist()


NUMBERS = np.arange(8.0).reshape(4, 2)
STREAMS = {
    "three axes": (np.stack([A, A]), [A, A]),
    "a tensor": (torch.stack([torch.from_numpy(A)] * 2), [A, A]),
    "a list of arrays": ([A, B], [A, B]),
    "a list of tensors": ([torch.from_numpy(A), torch.from_numpy(B)], [A, B]),
    "a column of vectors": ({"x": [A[0], B[0]]}, [A[0][:, None], B[0][:, None]]),
    "a list of vectors": ([A[0], B[0]], [A[:1], B[:1]]),
    "nested lists": ([A.tolist(), B.tolist()], [A, B]),
    "rows of numbers": (NUMBERS, [row[None] for row in NUMBERS]),
    "rows in lists": (NUMBERS.tolist(), [row[None] for row in NUMBERS]),
    "columns of numbers": (pd.DataFrame(NUMBERS, columns=["p", "q"]), [row[None] for row in NUMBERS]),
    "objects": (np.array([None, A, B], dtype=object)[1:], [A, B]),
}


@pytest.mark.parametrize(("given", "expected"), STREAMS.values(), ids=STREAMS)
def test_one_stream_without_a_name_is_x(given, expected) -> None:
    found = streams_of(columns_of(given))
    assert list(found.cells) == [STREAM]
    assert [x.dtype for x in found.arrays[STREAM]] == [np.float32] * len(expected)
    assert [x.tolist() for x in found.arrays[STREAM]] == [x.tolist() for x in expected]


def test_columns_are_streams_by_what_they_hold(caplog) -> None:
    columns = {
        "rgb": [A, None],
        "film": ["a.mp4", Path("b.mp4")],
        "said": ["it rains", "go"],
        "camera": ["left", "right"],
        "age": [3, 4],
        "group": ["p", "q"],
        "empty": [None, float("nan")],
    }
    with caplog.at_level(logging.WARNING):
        found = streams_of(columns)
    assert (list(found.arrays), list(found.files), list(found.texts)) == (["rgb"], ["film"], [])
    assert found.files["film"] == [str(Path("a.mp4").absolute()), str(Path("b.mp4").absolute())]
    assert "columns of words are left out: said, camera" in caplog.text
    assert "columns of numbers are left out: age" in caplog.text
    assert streams_of(columns | {"said": ["it rains", "it is dry"]}).texts == {"said": ["it rains", "it is dry"]}
    assert streams_of(columns, ["camera"]).texts == {"camera": ["left", "right"]}, "words that were asked for are text"
    assert streams_of({"x": ["yes", "no"]}).texts == {"x": ["yes", "no"]}, "there is nothing else"


WRONG = {
    "widths": ({"rgb": [A, np.ones((2, 4))]}, "'rgb' of clip 1 has 4 features, that of clip 0 3; expected arrays"),
    "nan": (
        {"rgb": [A, np.array([[1, 2, 3], [1, np.nan, 3.0]])]},
        "'rgb' of clip 1: 1 NaN among 6 values, the first at token 1, fe",
    ),
    "text in numbers": ({"rgb": [A, np.array([["a"]])]}, "'rgb' of clip 1 holds <U1 values, expected numbers"),
    "ragged": (
        {"rgb": [A, [[1], [1, 2]]]},
        "'rgb' of clip 1 is not an array of numbers: its rows have different lengths",
    ),
    "empty": (
        {"rgb": [A, np.ones((0, 3))]},
        r"'rgb' of clip 1 has 0 token\(s\), 3 feature\(s\)",
    ),
    "pictures": (
        {"rgb": [np.ones((2, 3, 4))]},
        r"'rgb' of clip 0 has shape \(2, 3, 4\); expected \(N, F\), .*: x\.reshape\(2, -1\) is 2 tokens$",
    ),
    "lengths": ({"rgb": [A, B], "sound": [A]}, "columns have different lengths: rgb 2, sound 1"),
    "one array": ({"rgb": A}, r"column 'rgb' is one array \(2, 3\); expected a list .* of one clip: \[x\]"),
    "no list": ({"rgb": 3}, "column 'rgb' is int; expected a list with a cell a clip"),
    "nothing": ({"rgb": []}, "no clips"),
    "words alone": ({"a": ["x", "y"], "b": ["p", "q"]}, "no column holds clips; columns: a, b; expected arrays"),
    "a number in paths": ({"f": ["a.npy", "b.npy", 3]}, "'f' of clip 2 is int; the others are paths"),
    "a number in text": ({"t": ["it rains", "it snows", 3]}, "'t' of clip 2 is int; the others are text"),
    "a name": ({"../rgb": [A]}, "'../rgb' cannot name a stream; use letters, digits, _ and -"),
    "a vector": (
        np.arange(3.0),
        r"got an array \(3,\) of float64\. Reshape your data: X\[:, None\] is a clip a number",
    ),
    "vectors of different lengths": ([[1.0, 2.0], [3.0]], r"a clip is x\[:, None\]"),
    "four axes": (
        np.ones((5, 3, 2, 1)),
        r"got an array \(5, 3, 2, 1\) of float64\. Reshape your data: X\.reshape\(5, 3, -1\) is 5 clips of 3 tokens$",
    ),
    "objects": (np.ones((2, 2, 2), dtype=object), r"of object; if it holds numbers, give X\.astype\(float\)$"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_used_says_which_cell(given, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        streams_of(columns_of(given))


def test_another_form_is_an_error_that_lists_the_forms() -> None:
    with pytest.raises(TypeError, match=r"expected a DataFrame, a dict of columns, .* manifest; got int"):
        columns_of(3)


def test_a_manifest_of_columns_reads_back_as_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", B)
    columns = {
        "rgb": [A, None],
        "f": [str(tmp_path / "f.npy")] * 2,
        "said": ['it\nrains, "cats"', None],
        "group": ["p", 7],
    }
    path = write_manifest(tmp_path / "out", streams_of(columns), {"label": ["x", "y"], "group": columns["group"]})
    found = read_manifest(path)
    assert found.modalities == ("f", "rgb", "said")
    assert [(row.label, row.group) for row in found.rows] == [("x", "p"), ("y", "7")]
    assert [sorted(row.files) for row in found.rows] == [["f", "rgb", "said"], ["f"]]
    np.testing.assert_array_equal(read_array(found.rows[0].files["rgb"], found.root), A)
    np.testing.assert_array_equal(read_array(found.rows[1].files["f"], found.root), B)
    assert Path(found.rows[0].files["said"]).read_text() == columns["said"][0]
    assert read_manifest(write_manifest(tmp_path / "out", streams_of({"rgb": [B]}), {"label": ["z"]})) == found, (
        "it is kept"
    )


def test_the_cells_of_a_manifest_keep_pointing_at_its_files(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "m.csv").write_text("id,rgb,label\na,f/a.npy#x,walk\nb,,run\nc,s3://x/y.npy,run\n")
    monkeypatch.chdir(tmp_path)
    found = columns_of("m.csv")
    assert found == {"id": ["a", "b", "c"], "rgb": ["f/a.npy#x", "", "s3://x/y.npy"], "label": ["walk", "run", "run"]}
    assert streams_of({"rgb": found["rgb"]}).files == {"rgb": [f"{tmp_path}/f/a.npy#x", None, "s3://x/y.npy"]}
    assert columns_of(tmp_path / "m.csv")["rgb"][0] == f"{tmp_path}/f/a.npy#x"


@pytest.mark.parametrize(
    "given",
    [
        pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["a", "a"]),
        pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=[1, "1"]),
        {1: [A, B], "1": [A, B]},
        [{1: A, "1": B}],
    ],
)
def test_two_columns_of_one_name_are_an_error(given) -> None:
    """The second would stand in the place of the first."""
    with pytest.raises(ValueError, match=r"two columns are called 'a'|two columns, 1 and '1', have the same name"):
        columns_of(given)
    if not isinstance(given, list):
        with pytest.raises(ValueError, match=r"two columns"):
            targets_of(given)


def test_records_may_have_numbers_for_names() -> None:
    found = columns_of([{0: A, 1: "x"}, {0: B, 1: "y"}])
    assert list(found) == ["0", "1"]
    assert [x.tolist() for x in found["0"]] == [A.tolist(), B.tolist()]


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        (pd.array([1.5, None], dtype="Float64"), ValueError, "'age' of clip 1 is missing"),
        ([1.5, float("nan")], ValueError, "'age' of clip 1 is missing"),
        (pd.date_range("2020-01-01", periods=2), TypeError, "'age' of clip 0 is Timestamp"),
        ([2, 1j], TypeError, "'age' of clip 0 is complex"),
    ],
)
def test_a_cell_that_is_no_number_is_named(column, error: type[Exception], message: str) -> None:
    """By its own column, not by the stream that all of them make."""
    with pytest.raises(error, match=message):
        streams_of(columns_of(pd.DataFrame({"height": [1.0, 2.0], "age": column})))


def test_numbers_beside_words_are_told_what_to_leave_out() -> None:
    with pytest.raises(ValueError, match=r"numbers are clips if all columns are: leave out town$"):
        streams_of({"height": [1.0, 2.0], "town": ["Ulm", "Bonn"], "age": [3, 4]})
