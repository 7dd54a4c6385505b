"""Labels of any type as text, and back."""

from datetime import date, datetime

import numpy as np
import pandas as pd
import pytest

from sparsefuse.data.labels import Labels
from sparsefuse.data.targets import Targets, array, targets_of


def learnt(**columns) -> tuple[Targets, Labels]:
    targets = Targets(columns)
    rows = ["+".join(row) for row in zip(*targets.texts.values(), strict=True)]
    return targets, Labels.from_rows(rows, columns=targets.names)


KINDS = {
    "words": (["b", "a", "b"], "class", ["a", "b"]),
    "numbers": ([10, 9, 10], "class", [9, 10]),
    "numpy": (np.array([10, 9], dtype=np.int16), "class", [9, 10]),
    "booleans": ([True, False], "class", [False, True]),
    "whole floats": ([2.0, 1.0], "class", [1.0, 2.0]),
    "figures as words": (["10", "9"], "class", ["10", "9"]),
    "series": (pd.Series(["b", "a"]), "class", ["a", "b"]),
    "categories": (pd.Series(["b", "a"], dtype="category"), "class", ["a", "b"]),
    "lists": ([["b"], ["a", "b"], ["a"]], "multilabel", ["a", "b"]),
    "joined words": (["b", "a|b", "a"], "multilabel", ["a", "b"]),
}


@pytest.mark.parametrize(("given", "task", "classes"), KINDS.values(), ids=KINDS)
def test_classes_are_the_values_that_were_given_sorted(given, task: str, classes: list) -> None:
    targets, labels = learnt(**targets_of(given))
    (found,) = targets.classes(labels)
    assert labels.task == task
    assert found.tolist() == classes
    assert type(found.tolist()[0]) is type(classes[0])
    back = [targets.value(text, labels) for text in targets.texts["label"]]
    assert back == list(given)


def test_numbers_with_a_fraction_are_regression() -> None:
    targets, labels = learnt(label=[0.1, np.float32(0.25), 2])
    assert labels.task == "regression"
    assert [targets.value(text, labels) for text in targets.texts["label"]] == [0.1, 0.25, 2.0]


def test_a_matrix_of_ones_is_several_classes() -> None:
    """Its last column has none; the empty row is a clip of no class."""
    matrix = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    targets, labels = learnt(**targets_of(matrix))
    assert (labels.task, labels.classes, targets.matrix) == ("multilabel", ("0", "1", "2"), 4)
    assert [targets.value(text, labels).tolist() for text in targets.texts["label"]] == matrix.tolist()
    assert targets_of(np.array([["b"], ["a"]])) == {"label": ["b", "a"]}


def test_several_columns_are_heads() -> None:
    frame = pd.DataFrame({"verb": ["put", "take"], "count": [2, 1]})
    targets, labels = learnt(**targets_of(frame))
    assert (targets.label, labels.heads) == ("verb+count", {"verb": 2, "count": 2})
    assert [each.tolist() for each in targets.classes(labels)] == [["put", "take"], [1, 2]]
    assert targets.value("take+2", labels) == ["take", 2]


WRONG = {
    "none": (["a", None], "'label' of clip 1 is missing"),
    "nan": ([1.0, float("nan")], "'label' of clip 1 is missing"),
    "a word for none": (["a", "none"], "'label' of clip 1 is 'none', which means no label"),
    "in a list": ([["a"], ["a", None]], "'label' of clip 1 is missing"),
    "alike": ([1, "1"], "two labels that are written '1': 1, '1'"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_a_label_that_is_none_is_named(given, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Targets({"label": given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.full((3, 2), 7), r"y has shape \(3, 2\); expected a label a clip; for several"),
        ("ab", "y is str"),
        (3, "y is int"),
    ],
)
def test_another_form_of_labels_says_what_is_expected(given, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        targets_of(given)


def test_lists_stay_lists_in_an_array() -> None:
    assert array([["a"], ["b"]]).tolist() == [["a"], ["b"]]
    assert array([["a"], ["b"]]).shape == (2,)
    assert array([1, 2]).dtype == int
    assert array([1, "a"]).tolist() == [1, "a"]


def test_figures_of_a_manifest_are_the_numbers_that_they_mean() -> None:
    known = Targets({"label": []})
    known.learn(Labels.from_rows(["1", "2.0", "x"]))
    texts = Targets({"label": [1.0, 1, True, np.float32(2), "x"]}, known).texts["label"]
    assert texts == ["1", "1", "1", "2.0", "x"]
    both = Targets({"label": []})
    both.learn(Labels.from_rows(["1", "01", "2"]))
    assert Targets({"label": [1, 2.0]}, both).texts["label"] == ["1", "2"], "neither figure is the only one for 1"


UNDERSTOOD = {
    "dates as texts": ([date(2026, 1, 1), date(2026, 1, 2)], ["2026-01-02", "2026-01-01"]),
    "times as texts": ([datetime(2026, 1, 1), datetime(2026, 1, 2)], ["2026-01-02", "2026-01-01T00:00"]),
    "days of times": ([pd.Timestamp(2026, 1, 1), pd.Timestamp(2026, 1, 2)], [date(2026, 1, 2), date(2026, 1, 1)]),
    "times of days": ([date(2026, 1, 1), date(2026, 1, 2)], [pd.Timestamp(2026, 1, 2), datetime(2026, 1, 1)]),
    "texts as times": (["2026-01-01", "2026-01-02"], [pd.Timestamp(2026, 1, 2), datetime(2026, 1, 1)]),
    "whole numbers as texts": ([1, 2], ["2", "1.0"]),
    "numbers as texts": ([1.0, 2.0], ["2", "1"]),
    "texts as numbers": (["1", "2"], [2.0, 1]),
    "both": ([1, 2], ["2", 1]),
    "booleans as texts": ([False, True], ["True", "False"]),
    "lists as texts": ([[1], [1, 2]], ["2|1.0", "1"]),
}


@pytest.mark.parametrize(("known", "given"), UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_a_label_of_another_type_is_the_one_that_it_says(known: list, given: list) -> None:
    """Given are the two labels that the model was fitted to, the second first."""
    fitted = Targets({"label": known})
    texts = Targets({"label": given}, fitted).texts["label"]
    assert [sorted(text.split("|")) for text in texts] == [text.split("|") for text in fitted.texts["label"][::-1]]


@pytest.mark.parametrize(
    ("known", "given", "message"),
    [
        (
            [date(2026, 1, 1)],
            "1 Jan 2026",
            r"is '1 Jan 2026', of type str; .* of type datetime.date, such as datetime.date\(2026, 1",
        ),
        (
            [1, 2],
            "one",
            r"'label' of clip 1 is 'one', of type str; the model was fitted to labels of type int, such as 1",
        ),
        (
            ["walk", "run"],
            1,
            "is 1, of type int; the model was fitted to labels of type str, such as 'walk'; give labels",
        ),
        ([1, 2], date(2026, 1, 1), "of type datetime.date; the model was fitted to labels of type int"),
        ([[1], [2]], "1|two", r"is '1\|two', of type str; the model was fitted to labels of type int"),
    ],
)
def test_a_label_that_no_known_one_can_equal_is_an_error(known: list, given, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Targets({"label": [known[0], given]}, Targets({"label": known}))


def test_a_class_that_the_model_has_not_seen_is_no_error() -> None:
    for known, new in (([1, 2], 3), ([1, 2], "3"), (["a"], "b"), ([date(2026, 1, 1)], "2026-01-02"), ([True], 2)):
        assert Targets({"label": [new]}, Targets({"label": known})).texts["label"] == [str(new)]


@pytest.mark.parametrize("labels", [[b"a", b"b"], np.array([b"a", b"b"]), [["a"], [b"b"]]])
def test_bytes_are_no_labels(labels) -> None:
    """They would be read back as the text b'a'."""
    with pytest.raises(ValueError, match=r"'label' of clip \d is bytes, b'[ab]'; give text"):
        Targets(targets_of(labels))


def test_times_that_are_equal_are_one_label() -> None:
    """Of numpy, as a column of pandas gives them, of pandas and of Python."""
    known = Targets({"label": list(np.array(["2020-01-01", "2020-01-02"], "datetime64[s]"))})
    for same in (
        [pd.Timestamp(2020, 1, 2), pd.Timestamp(2020, 1, 1)],
        [datetime(2020, 1, 2), datetime(2020, 1, 1)],
        list(np.array(["2020-01-02", "2020-01-01"], "datetime64[D]")),
        list(np.array(["2020-01-02", "2020-01-01"], "datetime64[ns]")),
    ):
        assert Targets({"label": same}, known).texts == {"label": ["2020-01-02T00:00:00", "2020-01-01T00:00:00"]}
    fine = list(np.array([1, 2], "datetime64[ns]"))
    assert len(set(Targets({"label": fine}).texts["label"])) == 2, "nanoseconds count"
