"""What every fusion method keeps, in the regime where its mechanism acts (docs: adding a method)."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from contract_cases import CLASSES, FEATURES, LONGEST, clips, logits_of, modality_free, model_of, ragged, rows
from safetensors.torch import load, save

from sparsefuse.tokens import Tokens

# Sums over other numbers of padded places round differently; a dozen layers of width 20 keep it below this.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(params=[pytest.param(None, marks=pytest.mark.slow), LONGEST], ids=["sinusoids", "table"])
def model(request, case):
    return model_of(case, lengths=request.param)


def test_logits_have_one_row_per_sample_and_one_column_per_class(model):
    logits, penalty = model(ragged())
    assert logits.shape == (5, CLASSES)
    assert logits.isfinite().all()
    assert penalty.shape == ()
    assert penalty.isfinite()


def test_different_samples_get_different_logits(model, reads):
    logits = logits_of(model, ragged())
    there = [i for i in range(5) if any(ragged()[name].mask[i].any() for name in reads)]
    for i, j in itertools.combinations(there, 2):
        assert (logits[i] - logits[j]).abs().max() > 1e-3


@pytest.mark.parametrize("extra", [1, 70])
def test_padding_does_not_change_logits(case, extra):
    model = model_of(case, lengths={name: n + 100 for name, n in LONGEST.items()})
    torch.testing.assert_close(logits_of(model, ragged(extra=extra)), logits_of(model, ragged()), **CLOSE)
    model = model_of(case)
    torch.testing.assert_close(logits_of(model, ragged(extra=extra)), logits_of(model, ragged()), **CLOSE)


def test_clips_longer_than_lengths_work_and_ignore_padding(case):
    model = model_of(case, lengths={"rgb": 4, "sound": 10, "flow": 5})
    padded = logits_of(model, ragged(extra=13))
    torch.testing.assert_close(padded, logits_of(model, ragged()), **CLOSE)
    assert padded.isfinite().all()


def test_a_clip_alone_gives_the_logits_it_has_in_a_batch(model):
    batch = ragged()
    together = logits_of(model, batch)
    for i in range(5):
        counts = {name: [int(t.mask[i].sum())] for name, t in batch.items()}
        alone = {n: Tokens(t.x[i : i + 1, : max(counts[n][0], 1)], t.mask[i : i + 1, : max(counts[n][0], 1)])
                 for n, t in batch.items()}  # fmt: skip
        torch.testing.assert_close(logits_of(model, alone), together[i : i + 1], **CLOSE)


def test_order_of_modalities_does_not_change_logits(case):
    expected = logits_of(model_of(case), ragged())
    for names in itertools.permutations(FEATURES):
        model = model_of(case, features={name: FEATURES[name] for name in names})
        torch.testing.assert_close(
            logits_of(model, {name: ragged()[name] for name in reversed(names)}), expected, rtol=0, atol=0
        )


def test_order_of_samples_permutes_logits(model):
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(logits_of(model, rows(ragged(), order)), logits_of(model, ragged())[order], **CLOSE)


def test_every_parameter_gets_a_gradient(model):
    logits, penalty = model.train()(ragged())
    (F.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1])) + penalty).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), f"{name} has a gradient that is not finite"
        assert parameter.grad.abs().max() > 1e-9, f"{name} has a zero gradient"


def test_padding_gets_no_gradient(model):
    batch = ragged()
    leaves = {name: Tokens(t.x.requires_grad_(), t.mask) for name, t in batch.items()}
    model(leaves).logits.square().sum().backward()
    for t in leaves.values():
        if t.x.grad is not None:
            assert not t.x.grad[~t.mask].any()


def test_saved_weights_give_the_same_logits(case):
    model = model_of(case, lengths=LONGEST)
    other = model_of(case, lengths=LONGEST, seed=7)
    assert (logits_of(other, ragged()) - logits_of(model, ragged())).abs().max() > 1e-3
    other.load_state_dict(load(save(model.state_dict())))
    torch.testing.assert_close(logits_of(other, ragged()), logits_of(model, ragged()), rtol=0, atol=0)


SUBSETS = [set(names) for n in (1, 2) for names in itertools.combinations(sorted(FEATURES), n)]


@pytest.mark.parametrize("subset", SUBSETS, ids=lambda names: "+".join(sorted(names)))
def test_a_modality_left_out_equals_one_masked_out(case, reads, subset):
    model = model_of(case)
    there = torch.stack([t.mask.any(1) for name, t in ragged().items() if name in subset]).any(0)
    batch = rows(ragged(), there)
    given = {name: t for name, t in batch.items() if name in subset}
    if not subset & reads:
        with pytest.raises(ValueError, match="needs at least one of"):
            model(given)
        return
    masked = {
        name: t if name in subset else Tokens(torch.full_like(t.x, float("nan")), torch.zeros_like(t.mask))
        for name, t in batch.items()
    }
    logits = logits_of(model, given)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits, logits_of(model, masked), **CLOSE)


def test_each_modality_that_is_read_has_a_say(case, reads):
    model, first = model_of(case), rows(ragged(), slice(1))
    for name in FEATURES:
        without = {n: t for n, t in first.items() if n != name}
        if name in reads and not set(without) & reads:
            continue
        change = (logits_of(model, first) - logits_of(model, without))[0].abs().max()
        assert (change > 1e-3) == (name in reads)


def test_no_modality_is_an_error_that_says_so(model):
    with pytest.raises(ValueError, match=r"needs at least one of .*got none"):
        model({})


def test_a_sample_with_nothing_is_an_error_and_leaves_the_others_alone_in_training(model):
    batch = ragged()
    emptied = {name: Tokens(t.x, t.mask.clone()) for name, t in batch.items()}
    for t in emptied.values():
        t.mask[1] = False
    with pytest.raises(ValueError, match="clip 1 of the batch has no token: all are masked"):
        model(emptied)
    with torch.no_grad():
        logits = model.training_outputs(emptied)[0].logits
        whole = model.training_outputs(batch)[0].logits
    assert logits.isfinite().all()
    others = torch.tensor([0, 2, 3, 4])
    torch.testing.assert_close(logits[others], whole[others], **CLOSE)


@pytest.mark.parametrize("name", FEATURES)
def test_a_modality_missing_in_one_sample_leaves_the_others_alone(case, name):
    model = model_of(case)
    batch = ragged()
    mask = batch[name].mask.clone()
    mask[0] = False
    lacking = {**batch, name: Tokens(batch[name].x, mask)}
    torch.testing.assert_close(logits_of(model, lacking)[1:], logits_of(model, batch)[1:], **CLOSE)


def test_training_still_works_where_a_sample_has_nothing(case):
    model = model_of(case).train()
    batch = ragged()
    for t in batch.values():
        t.mask[1] = False
    F.cross_entropy(model(batch).logits, torch.tensor([0, 1, 2, 0, 1])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), f"{name} has a gradient that is not finite"


def test_unknown_modality_is_an_error_that_names_the_nearest(model):
    with pytest.raises(ValueError, match="unknown modality 'sounds'; did you mean 'sound'"):
        model({**ragged(), "sounds": ragged()["sound"]})


def test_wrong_width_is_an_error_that_says_which(case, reads):
    name = max(reads)
    batch = ragged()
    t = batch[name]
    with pytest.raises(ValueError, match=rf"modality '{name}' must have {FEATURES[name]} features; got .*3\)"):
        model_of(case)({**batch, name: Tokens(t.x[..., :3], t.mask)})


ODD_NAMES = {"type": 3, "a.b": 4, "pop": 2, "forward": 5}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_modalities_of_any_name_works(case, count):
    features = dict(list(ODD_NAMES.items())[:count])
    model = model_of(modality_free(case), features=features, lengths=dict.fromkeys(features, 6))
    counts = {name: [6, 2 + i, 4] for i, name in enumerate(features)}
    logits = logits_of(model, clips(counts, features=features))
    assert logits.shape == (3, CLASSES)
    assert logits.isfinite().all()
    padded = logits_of(model, clips(counts, features=features, extra=5))
    torch.testing.assert_close(padded, logits, **CLOSE)
    other = model_of(modality_free(case), features=features, lengths=dict.fromkeys(features, 6), seed=3)
    other.load_state_dict(load(save(model.state_dict())))
    torch.testing.assert_close(logits_of(other, clips(counts, features=features)), logits, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["fused", "bottleneck", "a<-b"])
def test_a_modality_named_like_an_inner_stream_is_an_error(case, name):
    with pytest.raises(ValueError, match="rename it"):
        model_of(modality_free(case), features={name: 3, "b": 2})


def test_thirty_steps_learn_sixteen_samples(case):
    labels = torch.arange(16) % CLASSES
    noise = clips({"rgb": [9, 6] * 8, "sound": [36, 40] * 8, "flow": [7, 3] * 8})
    batch = {name: t._replace(x=t.x + 0.5 * F.one_hot(labels, t.x.shape[-1])[:, None]) for name, t in noise.items()}
    model = model_of(case).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(30):
        logits, penalty = model(batch)
        optimizer.zero_grad()
        (F.cross_entropy(logits, labels) + penalty).backward()
        optimizer.step()
        if logits_of(model.eval(), batch).argmax(1).equal(labels):
            return
        model.train()
    pytest.fail(f"after thirty steps the model says {logits.argmax(1).tolist()}")


def test_modalities_interact_exactly_where_the_method_fuses(case):
    """f(a, b) - f(a', b) - f(a, b') + f(a', b') is zero for a sum of per-modality terms, whatever they are."""
    model = model_of(case).double()
    counts = {"rgb": [9], "sound": [40], "flow": [7]}
    one, two = ({n: Tokens(t.x.double(), t.mask) for n, t in clips(counts, seed=s).items()} for s in (1, 2))
    for a, b in itertools.combinations(FEATURES, 2):
        f = [logits_of(model, {**one, a: x[a], b: y[b]}) for x in (one, two) for y in (one, two)]
        interaction = (f[0] - f[1] - f[2] + f[3]).abs().max()
        if case[0] in ("late", "unimodal"):
            assert interaction < 1e-12
        else:
            assert interaction > 1e-4


def test_bfloat16_agrees_with_float32(case):
    """bfloat16 keeps 8 bits: each product is off by up to 0.4 %, and three layers with norms add some up."""
    model = model_of(case, lengths=LONGEST)
    exact = logits_of(model, ragged())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = logits_of(model, ragged())
    assert rounded.isfinite().all()
    assert (rounded - exact).abs().max() > 1e-5, "autocast did nothing"
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.05 * float(exact.abs().max()))
