"""What makes the choice of a checkpoint doubtful: epochs in, sentences out."""

import pytest

from sparsefuse.runs.records import Epoch
from sparsefuse.runs.scoring import doubts

FIRST, RISES = "the first of 3 epochs is the best", "validation loss only rises while training loss falls"


def epochs(train, valid):
    return [
        Epoch(i + 1, 1e-3, loss, 1.0, {} if valid is None else {"valid_loss": valid[i]}) for i, loss in enumerate(train)
    ]


@pytest.mark.parametrize(
    ("train", "valid", "best", "found"),
    [
        ([3, 2, 1], [3, 2, 1], 3, []),
        ([3, 2, 1], [1, 2, 3], 1, [FIRST, RISES]),
        ([3, 2, 1], [1, 3, 2], 1, [FIRST]),
        ([1, 2, 3], [1, 2, 3], 1, [FIRST]),  # training diverges: no overfitting
        ([3, 2, 1], None, 3, []),
        ([1], [1], 1, []),  # there was no choice
        ([3, 2, 1], [1, 2, 3], 3, [RISES]),  # of an adapted run, whose old clips count too
    ],
)
def test_a_checkpoint_by_chance_is_called_so(train, valid, best, found):
    assert doubts(epochs(train, valid), best) == found
