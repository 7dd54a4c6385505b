"""Mixup with lambda 1 is the sample, with lambda 0 its partner: at every depth, on ragged batches, in every method."""

import pytest
import torch
import torch.nn.functional as F
from contract_cases import LONGEST, logits_of, model_of, ragged

from sparsefuse import mixup

PARTNER = torch.tensor([3, 2, 0, 4, 1])  # every sample has a partner with other lengths and other modalities
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(params=[None, LONGEST], ids=["sinusoids", "table"])
def model(request, case):
    return model_of(case, lengths=request.param)


def mixed(model, lam):
    """(depth, logits) where every sample is blended with its partner there."""
    plan, batch = model.mixup_plan(), ragged()
    for depth in depths(model):
        yield depth, logits_of(model, batch, mix=mixup.fixed(batch, plan, depth=depth, partner=PARTNER, lam=lam))


def depths(model):
    return range(len(model.layers) + 1)


def test_lambda_one_is_the_sample_at_every_depth(model):
    own = logits_of(model, ragged())
    for depth, logits in mixed(model, 1.0):
        torch.testing.assert_close(logits, own, **CLOSE, msg=lambda m, d=depth: f"{d}: {m}")


def test_lambda_zero_is_the_partner_at_every_depth(model):
    partners = logits_of(model, ragged())[PARTNER]
    for depth, logits in mixed(model, 0.0):
        torch.testing.assert_close(logits, partners, **CLOSE, msg=lambda m, d=depth: f"{d}: {m}")


def test_lambda_between_gives_something_else_at_every_depth(model):
    own = logits_of(model, ragged())
    for depth, logits in mixed(model, 0.5):
        assert logits.isfinite().all()
        assert (logits - own).abs().amax(1).max() > 1e-3, f"depth {depth}: no sample changed"
        assert (logits - own[PARTNER]).abs().amax(1).max() > 1e-3, f"depth {depth}: every sample became its partner"


def test_mixing_with_oneself_changes_nothing(model):
    plan, own = model.mixup_plan(), logits_of(model, ragged())
    for depth in depths(model):
        mix = mixup.fixed(ragged(), plan, depth=depth, partner=torch.arange(5), lam=0.3)
        torch.testing.assert_close(
            logits_of(model, ragged(), mix=mix), own, **CLOSE, msg=lambda m, d=depth: f"{d}: {m}"
        )


def test_the_plan_names_the_streams_after_every_layer(model):
    seen = []
    model(ragged(), probe=lambda depth, state: seen.append((depth, tuple(state.streams))))
    plan = model.mixup_plan()
    assert seen == list(enumerate(plan.streams))
    assert len(seen) == len(model.layers) + 1
    assert plan.modalities == model.modalities


def test_planning_leaves_the_model_in_the_mode_it_was_in(case):
    model = model_of(case).train()
    model.mixup_plan()
    assert all(module.training for module in model.modules())


def test_padding_does_not_change_mixed_logits(case):
    model = model_of(case)
    plan = model.mixup_plan()
    for depth in depths(model):
        a, b = (
            logits_of(model, batch, mix=mixup.fixed(batch, plan, depth=depth, partner=PARTNER, lam=0.3))
            for batch in (ragged(), ragged(extra=3))
        )
        torch.testing.assert_close(a, b, **CLOSE)


def test_every_parameter_gets_a_finite_gradient_under_mixup_at_every_depth(case):
    model = model_of(case).train()
    plan = model.mixup_plan()
    for depth in depths(model):
        model.zero_grad()
        mix = mixup.fixed(ragged(), plan, depth=depth, partner=PARTNER, lam=0.4)
        F.cross_entropy(model(ragged(), mix=mix).logits, torch.tensor([0, 1, 2, 0, 1])).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.isfinite().all(), f"{name} at depth {depth}"
            assert parameter.grad.abs().max() > 1e-9, f"{name} at depth {depth}"


def test_a_lambda_of_its_own_per_modality_reaches_only_that_modality(case, reads):
    """After the embedding, lambda 0 for one modality and 1 for the rest = the partner's modality put in its place."""
    model = model_of(case)
    plan = model.mixup_plan()
    for name in reads:
        mix = mixup.fixed(ragged(), plan, depth=0, partner=PARTNER, lam=1.0)
        mix.lam[name] = torch.zeros(5)
        swapped = ragged()
        swapped[name] = swapped[name]._replace(x=swapped[name].x[PARTNER], mask=swapped[name].mask[PARTNER])
        with torch.no_grad():
            expected = model.head(model.encode(swapped))  # `forward` refuses a clip that is left with nothing
        torch.testing.assert_close(logits_of(model, ragged(), mix=mix), expected, **CLOSE)
