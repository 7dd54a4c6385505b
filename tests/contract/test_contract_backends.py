"""Every method gives the same logits and gradients by every backend."""

import pytest
import torch
from contract_cases import BASE, LONGEST, case_id, logits_of, model_of, ragged, shallow

from sparsefuse.layers import ops
from sparsefuse.layers.ops import native, triton
from sparsefuse.methods import find

needs_native = pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())
SPARSE = {"unimodal_attention": "local", "sparse": "local"}
SOME = [case if case[0] == "sft" else shallow(case) for case in BASE] + [("sft", {**find("sft").TEST, **SPARSE})]
"""layers one after another in `sft`; the others' are computed alike"""


def outcome(model, backend):
    with ops.backend(backend):
        logits, penalty = model(ragged())
        weights = dict(model.named_parameters())
        loss = logits.square().sum() + penalty
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, materialize_grads=True)
        return logits, dict(zip(weights, gradients, strict=True))


def check(model, backend):
    (wanted, by_definition), (got, gradients) = (outcome(model, each) for each in ("torch", backend))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    for name, expected in by_definition.items():
        largest = max(1.0, float(expected.abs().max()))
        assert (gradients[name] - expected).abs().max() <= 1e-3 * largest, name


@needs_native
@pytest.mark.parametrize("lengths", [None, LONGEST], ids=["sinusoids", "table"])
def test_native_agrees(case, lengths):
    check(model_of(case, lengths=lengths), "native")


@pytest.mark.slow
@pytest.mark.skipif(bool(triton.unavailable()), reason=triton.unavailable())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter's NumPy
@pytest.mark.parametrize("one", SOME, ids=case_id)
def test_triton_agrees(one):
    """Interpreted, a model takes seconds: each method once."""
    check(model_of(one, lengths=LONGEST), "triton")


@needs_native
def test_native_computes_something_of_every_method(case):
    """Or the test above would hold the definition against itself; but a causal mask only the definition has."""
    with ops.backend("torch"):
        plain = logits_of(model_of(case), ragged())
    with ops.backend("native"):
        assert logits_of(model_of(case), ragged()).equal(plain) == case[1].get("causal", False)
