"""How a batch is degraded."""

import torch

from sparsefuse.study.robustness import degrade
from sparsefuse.tokens import Tokens


def test_a_clip_that_has_nothing_else_keeps_the_modality_that_others_lose():
    there = torch.tensor([[True, True], [True, False], [False, False]])
    tokens = {"a": Tokens(torch.ones(3, 2, 4), there), "b": Tokens(torch.ones(3, 1, 3), there[[0, 2, 0], :1])}
    worse = degrade(tokens, "a", "missing", 1.0, torch.Generator())
    assert worse["a"].mask.tolist() == [[False, False], [True, False], [False, False]]
    assert worse["a"].x.sum((1, 2)).tolist() == [0, 4, 0]
    assert worse["b"] == tokens["b"]
