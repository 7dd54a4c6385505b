"""Every method gives the same logits and gradients by every backend."""

import pytest
import torch
from contract_cases import LONGEST, logits_of, model_of, ragged

from sparsefuse.layers import ops


@pytest.fixture(params=["native", pytest.param("triton", marks=pytest.mark.slow)])
def other(request):
    if reason := ops.BACKENDS[request.param].unavailable():
        pytest.skip(reason)
    return request.param


def outcome(model, backend):
    with ops.backend(backend):
        logits, penalty = model(ragged())
        weights = dict(model.named_parameters())
        loss = logits.square().sum() + penalty
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, materialize_grads=True)
        return logits, dict(zip(weights, gradients, strict=True))


@pytest.mark.parametrize("lengths", [None, LONGEST], ids=["sinusoids", "table"])
def test_backends_agree(case, lengths, other):
    model = model_of(case, lengths=lengths)
    (wanted, by_definition), (got, gradients) = (outcome(model, backend) for backend in ("torch", other))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    for name, expected in by_definition.items():
        largest = max(1.0, float(expected.abs().max()))
        assert (gradients[name] - expected).abs().max() <= 1e-3 * largest, name


def test_it_computes_something_of_every_method(case, other):
    """Or the test above would hold the definition against itself; but a causal mask only the definition has."""
    with ops.backend("torch"):
        plain = logits_of(model_of(case), ragged())
    with ops.backend(other):
        assert logits_of(model_of(case), ragged()).equal(plain) == case[1].get("causal", False)
