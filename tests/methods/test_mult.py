"""MulT's future mask, through the whole model."""

import pytest
import torch

from sparsefuse.methods import build
from sparsefuse.tokens import Tokens

FEATURES = {"fast": 3, "slow": 4}
LENGTHS = [{"fast": 7, "slow": 4}, {"fast": 3, "slow": 5}]  # of two clips: fast may look ahead by 3, and by 2


def model_of(**options):
    torch.manual_seed(0)
    return build("mult", FEATURES, 3, cross_depth=2, fusion_depth=2, dim=10, num_heads=2, **options).double().eval()


def batch():
    generator = torch.Generator().manual_seed(1)
    tokens = {}
    for name, width in FEATURES.items():
        mask = torch.arange(8) < torch.tensor([lengths[name] for lengths in LENGTHS])[:, None]
        tokens[name] = Tokens(torch.randn(2, 8, width, generator=generator, dtype=torch.float64), mask)
    return tokens


@torch.no_grad()
def last_state(model, tokens):
    states = []
    logits = model(tokens, probe=lambda _, state: states.append(state)).logits
    return states[-1].streams, logits


@pytest.mark.parametrize("causal", [True, False])
def test_a_later_token_does_not_reach_an_earlier_one_and_reaches_cls(causal):
    model = model_of(causal=causal)
    before, logits = last_state(model, batch())
    for clip, lengths in enumerate(LENGTHS):
        ahead = abs(lengths["fast"] - lengths["slow"])
        for changed in FEATURES:
            for place in range(lengths[changed]):
                tokens = batch()
                tokens[changed].x[clip, place] += 1
                after, others = last_state(model, tokens)
                assert (others[clip] - logits[clip]).abs().max() > 1e-6
                for name in FEATURES:
                    differs = (after[name].x - before[name].x)[clip].abs().amax(1) > 1e-12
                    first = max(0, place - (0 if name == changed else ahead)) if causal else 0
                    assert differs[0]
                    assert differs[1 : 1 + lengths[name]].tolist() == [i >= first for i in range(lengths[name])]
