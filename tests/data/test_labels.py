import json

import pytest
import torch

from sparsefuse.data.labels import Labels, guess_task
from sparsefuse.skipped import Unusable


@pytest.mark.parametrize(
    ("labels", "task", "said"),
    [
        (["cat", "dog", "cat"], "class", "words: 2 classes"),
        (["0", "1", "2", "1"], "class", "whole numbers: 3 classes; for regression set data.task=regression"),
        (["1.0", "2.0"], "class", "whole numbers: 2 classes"),
        (["-1.5", "2"], "regression", "fractions: regression; for classes set data.task=class"),
        (["cat|dog", "cat"], "multilabel", "several classes per clip"),
        (["nan", "inf"], "class", "words: 2 classes"),
    ],
)
def test_the_task_is_guessed_and_said(labels, task, said, caplog):
    with caplog.at_level("INFO"):
        assert guess_task(labels) == task
    assert said in caplog.text


def test_numbers_and_words_together_are_an_error():
    with pytest.raises(ValueError, match=r"such as 1\.5.*'n/a'"):
        Labels.from_rows(["1.5", "2", "n/a"])


def test_classes_are_sorted_numbers_by_value():
    assert Labels.from_rows(["dog", "cat", "dog"]).classes == ("cat", "dog")
    assert Labels.from_rows(["10", "9", "1"]).classes == ("1", "9", "10")


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
        (["a", "b"], "regression", "no label is a number"),
    ],
)
def test_labels_nothing_can_be_learnt_from_are_an_error(texts, task, message):
    with pytest.raises(ValueError, match=message):
        Labels.from_rows(texts, task)


@pytest.mark.parametrize("labels", [Labels("class", ("a", "b")), Labels("regression")])
def test_json_gives_the_same_labels(labels):
    assert Labels.from_json(json.loads(json.dumps(labels.to_json()))) == labels
