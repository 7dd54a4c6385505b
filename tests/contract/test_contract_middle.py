"""A pass can stop where streams meet, and go on from there with other clips beside it: what replay stands on."""

import torch
from contract_cases import logits_of, model_of, ragged, rows

from sparsefuse.tokens import Tokens
from sparsefuse.training import states


def cut(batch, index):
    """Some rows of a batch, padded to their own longest clip only."""
    found = {}
    for name, t in rows(batch, index).items():
        longest = max(1, int(t.mask.sum(1).max()))
        found[name] = Tokens(t.x[:, :longest], t.mask[:, :longest])
    return found


def test_clips_that_are_joined_in_the_middle_give_the_logits_of_the_whole_pass(case):
    model = model_of(case)
    depth = states.fusion_depth(model)
    with torch.no_grad():
        parts = [model.through(model.embed(cut(ragged(), index)), last=depth) for index in ([0, 2], [1], [3, 4])]
        logits = model.head(model.through(states.join(parts), depth))
    whole = logits_of(model, ragged())
    torch.testing.assert_close(logits, whole[[0, 2, 1, 3, 4]], rtol=1e-4, atol=1e-5)
