"""Which of some runs is the best."""

from types import SimpleNamespace

import pytest

from sparsefuse.experiments.best import best_run


class Run:
    def __init__(self, task, gmacs, **valid):
        self.result = SimpleNamespace(task=task, valid=valid, cost=SimpleNamespace(gmacs=gmacs))

    def read(self, _):
        return self.result


def test_the_best_score_wins_and_the_cheapest_of_equals():
    low, dear, cheap = Run("class", 1.0, top1=0.5), Run("class", 3.0, top1=0.9), Run("class", 2.0, top1=0.9)
    assert best_run([low, dear, cheap]) == (cheap, "top1")


def test_a_smaller_error_is_better():
    far, near = Run("regression", 1.0, mae=3.0), Run("regression", 2.0, mae=1.0)
    assert best_run([far, near]) == (near, "mae")


def test_without_validation_clips_nothing_can_be_chosen():
    with pytest.raises(ValueError, match="there are none"):
        best_run([Run("class", 1.0)])
