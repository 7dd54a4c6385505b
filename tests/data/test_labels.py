import json
import re

import pytest
import torch

from sparsefuse.data.labels import Labels, alike, guess_task, listed, task_of
from sparsefuse.files.skipped import Unusable
from sparsefuse.files.typed import from_json, to_json


@pytest.mark.parametrize(
    ("labels", "task", "said"),
    [
        (["cat", "dog", "cat"], "class", "classification with 2 classes"),
        (
            ["0", "1", "2", "1"],
            "class",
            "classification with 3 classes, as labels are whole numbers; for regression set data.task=regression",
        ),
        (["1.0", "2.0"], "class", "classification with 2 classes, as labels are whole numbers"),
        (
            ["-1.5", "2"],
            "regression",
            "regression, as labels are numbers with fractions; for classes set data.task=class",
        ),
        (["cat|dog", "cat"], "multilabel", "multilabel classification"),
        (["nan", "inf"], "class", "classification with 2 classes"),
    ],
)
def test_the_task_is_guessed_and_said(labels, task, said, caplog):
    with caplog.at_level("INFO"):
        assert guess_task(labels) == guess_task(labels) == task
    (line,) = caplog.messages  # once
    assert said in line


def test_numbers_and_words_together_are_an_error():
    with pytest.raises(ValueError, match=r"such as 1\.5.*'n/a'"):
        Labels.from_rows(["1.5", "2", "n/a"])


def test_classes_are_sorted_numbers_by_value():
    assert Labels.from_rows(["dog", "cat", "dog"]).classes == ("cat", "dog")
    assert Labels.from_rows(["10", "9", "1"]).classes == ("1", "9", "10")


@pytest.mark.parametrize(
    ("classes", "groups"),
    [
        (["caf\u00e9", "cafe\u0301", "Caf\u00e9", "cafe"], [["caf\u00e9", "cafe\u0301", "Caf\u00e9"]]),
        (["0", "0.0", "00", "1", "1e0", "10", "1_0"], [["0", "0.0", "00"], ["1", "1e0"]]),
        (["a b", "a\u00a0b", "ab\u200b", "a-b"], [["a b", "a\u00a0b", "ab\u200b"]]),
        (["True", "TRUE", "False"], [["True", "TRUE"]]),
        (["cat", "cats", "dog"], []),
    ],
)
def test_classes_that_differ_in_writing_alone_are_alike(classes, groups):
    assert alike(classes) == groups


@pytest.mark.parametrize(
    ("classes", "lists"),
    [
        (["['a', 'b']", '["a"]', "c"], ["['a', 'b']", '["a"]']),
        (["a", "b", "a,b"], ["a,b"]),
        (["a, b", "b, c", "a, c"], ["a, b", "b, c", "a, c"]),
        (["a;b", "b", "a"], ["a;b"]),
        (["dog barking", "playing violin, fiddle", "male speech, man speaking"], []),
        (["x, a", "x, b", "x, c"], []),
    ],
)
def test_classes_that_share_their_parts_may_be_lists(classes, lists):
    assert listed(classes) == lists


def test_a_class_is_an_index():
    found = Labels.from_rows(["dog", "cat"]).encode("dog")
    assert found.dtype == torch.long
    assert found.shape == ()
    assert found.item() == 1


def test_several_labels_are_a_vector():
    labels = Labels.from_rows(["b|c", "a"])
    assert labels.num_outputs == 3
    torch.testing.assert_close(labels.encode("a | c"), torch.tensor([1.0, 0.0, 1.0]))
    torch.testing.assert_close(labels.encode(""), torch.zeros(3))


def test_regression_is_one_number():
    labels = Labels.from_rows(["0.5", "2"])
    assert labels.num_outputs == 1
    torch.testing.assert_close(labels.encode("-2.25"), torch.tensor(-2.25))


@pytest.mark.parametrize(
    ("labels", "text", "message"),
    [
        (Labels("class", ("cat", "dog")), "dgo", "not seen in training: unknown class 'dgo'; did you mean 'dog'"),
        (Labels("class", ("cat", "dog")), "", "label is empty"),
        (Labels("multilabel", ("cat", "dog")), "cat|cow", "unknown class 'cow'"),
        (Labels("regression"), "nan", "not a finite number"),
        (Labels("regression"), "high", "not a finite number"),
        (Labels("regression"), "0,5", "not a finite number, as regression expects; write a decimal point"),
        (Labels("regression"), "1_5", "not a finite number"),
        (Labels("regression"), "", "label is empty"),
    ],
)
def test_labels_that_cannot_be_encoded_are_unusable(labels, text, message):
    with pytest.raises(Unusable) as error:
        labels.encode(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("texts", "task", "message"),
    [
        (["", ""], "auto", "no training row has a label"),
        (["a", "a"], "auto", "at least two classes"),
        (["a", "b"], "regression", r"no label is a number \(as 'a'\); set data.task=class"),
        (["0,5", "1,5"], "regression", r"no label is a number \(as '0,5'\); write decimal points"),
        (["0,5", "1", "1,25"], "auto", r"numbers with commas \(such as '0,5'\): for regression write decimal points"),
        (
            [str(20 + i) for i in range(24)],
            "auto",
            "24 whole numbers in 24 rows .*set data.task to regression or class",
        ),
    ],
)
def test_labels_nothing_can_be_learnt_from_are_an_error(texts, task, message):
    with pytest.raises(ValueError, match=message):
        Labels.from_rows(texts, task)


@pytest.mark.parametrize("labels", [Labels("class", ("a", "b")), Labels("regression")])
def test_json_gives_the_same_labels(labels):
    assert from_json(Labels, json.loads(json.dumps(to_json(labels))), "") == labels


PAIRS = Labels.from_rows(["take+plate", "put+plate", "10+cup", "9+cup", "wash+"], columns=("verb", "noun"))
LISTED = Labels.from_rows(
    ["take+plate", "put+cup"], columns=("verb", "noun"), lists={"verb": {"put": "1", "take": "0", "fold": "7"}}
)


def test_heads_have_their_own_classes_side_by_side():
    """`wash` is not among them: its clip lacks a noun and cannot be used."""
    assert PAIRS.task == "heads"
    assert PAIRS.heads == {"verb": 4, "noun": 2}
    assert PAIRS.classes == ("verb:9", "verb:10", "verb:put", "verb:take", "noun:cup", "noun:plate")
    assert PAIRS.num_outputs == 6
    found = PAIRS.encode("take+cup")
    assert found.dtype == torch.long
    assert found.tolist() == [3, 0]
    assert PAIRS.text(found) == "take+cup"
    assert PAIRS.likeliest(torch.tensor([0.0, 2.0, 1.0, 0.0, -3.0, -2.0])).tolist() == [1, 1]


def test_a_list_has_classes_that_no_training_clip_shows_in_its_own_order():
    assert LISTED.classes == ("verb:put", "verb:take", "verb:fold", "noun:cup", "noun:plate")
    assert LISTED.encode("fold+cup").tolist() == [2, 0]
    assert LISTED.encode("7+cup").tolist() == [2, 0], "by id"
    assert LISTED.encode("0+plate").tolist() == LISTED.encode("take+plate").tolist() == [1, 1]


def test_one_label_may_have_a_list_too():
    labels = Labels.from_rows(["1", "1"], columns=("verb",), lists={"verb": {"take": "0", "put": "1"}})
    assert labels.task == "class"
    assert labels.classes == ("take", "put")
    assert int(labels.encode("1")) == int(labels.encode("put")) == 1


@pytest.mark.parametrize(
    ("labels", "text", "message"),
    [
        (PAIRS, "tkae+cup", "not seen in training: unknown verb 'tkae'; did you mean 'take'"),
        (PAIRS, "cup+cup", "unknown verb 'cup'"),
        (PAIRS, "take+", "the noun of the label is empty"),
        (PAIRS, "take", "has 1 parts; expected one of each of verb, noun"),
        (LISTED, "open+cup", "not in the list of its classes: unknown verb 'open'"),
        (LISTED, "take+fork", "not seen in training: unknown noun 'fork'"),
        (LISTED, "", "the label is empty"),
    ],
)
def test_a_label_that_a_head_does_not_know_is_unusable(labels, text, message):
    with pytest.raises(Unusable, match=re.escape(message)):
        labels.encode(text)


@pytest.mark.parametrize("labels", [PAIRS, LISTED])
def test_labels_of_heads_survive_json(labels):
    assert from_json(Labels, json.loads(json.dumps(to_json(labels))), "") == labels


@pytest.mark.parametrize(
    ("task", "columns", "message"),
    [
        ("class", ("verb", "noun"), "data.task is class, but data.label names 2 columns"),
        ("heads", ("verb",), "data.task is heads, but data.label names one column (verb); join several with +"),
    ],
)
def test_task_and_number_of_columns_go_together(task, columns, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        task_of(task, ["take"], columns)


@pytest.mark.parametrize(
    ("labels", "lists", "message"),
    [
        (["take+cup", "take+plate"], {}, "all 2 training labels of verb are 'take'"),
        (["take+", "+plate"], {}, "no training row has a label in each of verb, noun"),
    ],
)
def test_heads_that_cannot_be_learnt_are_an_error(labels, lists, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Labels.from_rows(labels, columns=("verb", "noun"), lists=lists)


def test_numbers_have_no_list():
    with pytest.raises(ValueError, match=r"data\.classes lists classes, but the task is regression"):
        Labels.from_rows(["0.5", "1.5"], columns=("a",), lists={"a": {"x": "0", "y": "1"}})


@pytest.mark.parametrize("task", ["segment", "translate", "detect"])
def test_tasks_of_pictures_have_no_labels_of_clips(task):
    with pytest.raises(ValueError, match=rf"^data\.task is {task}, which is of scenes"):
        task_of(task, ["a"], ["label"])


def test_labels_that_are_pictures_name_the_task_of_pixels():
    with pytest.raises(ValueError, match=r"^labels are files of pictures \(such as 'label/1\.png'\): .*task=segment"):
        guess_task(["label/1.png", "label/2.PNG", ""])
    assert guess_task(["cat.png", "dog"]) == "class"
