"""What every method on pixels keeps, in the regime where its mechanism acts."""

import pytest
import torch
from pixel_cases import (
    BASE,
    LACKS,
    OUT,
    SIZE,
    SIZES,
    STREAMS,
    VARIED,
    case_id,
    logits_of,
    model_of,
    pictures,
    real,
    whole,
)
from safetensors.torch import load, save
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sparsefuse.cost.count import count_pixels
from sparsefuse.methods.pixels import build
from sparsefuse.tokens import Field

# Sums over other numbers of padded places round differently.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(params=BASE + [pytest.param(case, marks=pytest.mark.slow) for case in VARIED], ids=case_id)
def case(request):
    return request.param


@pytest.fixture
def reads(case):
    return {case[1].get("stream", min(STREAMS))} if case[0] == "unimodal" else set(STREAMS)


def samples(reads):
    """The samples that have something to read."""
    return [i for i, lacks in enumerate(LACKS) if reads - set(lacks)]


def test_logits_are_as_large_as_the_pictures(case, reads):
    logits, penalty, _ = model_of(case)(pictures())
    assert logits.shape == (4, 20, 22, OUT)
    assert penalty.shape == ()
    assert penalty.isfinite()
    assert logits.isfinite().all()
    assert all(real(logits, i).std() > 1e-3 for i in samples(reads))


def test_a_model_that_is_described_can_be_built_without_memory(case):
    """As every run folder is, before its weights are read."""
    name, options = case
    with torch.device("meta"):
        described = build(name, STREAMS, OUT, **{"size": SIZE[options["task"]], **options}).state_dict()
    assert {key: x.shape for key, x in described.items()} == {
        key: x.shape for key, x in model_of(case).state_dict().items()
    }


def test_padding_does_not_change_logits(case, reads):
    model = model_of(case)
    padded, plain = logits_of(model, pictures(extra=13)), logits_of(model, pictures())
    for i in samples(reads):
        torch.testing.assert_close(real(padded, i), real(plain, i), **CLOSE)


def test_a_picture_alone_gives_the_logits_it_has_in_a_batch(case, reads):
    model, batch = model_of(case), pictures()
    together = logits_of(model, batch)
    for i in samples(reads):
        height, width = SIZES[i]
        alone = {
            name: field.x[i : i + 1, :height, :width] for name, field in batch.items() if name not in LACKS[i]
        }  # streams it lacks are not even named
        torch.testing.assert_close(logits_of(model, alone)[0], real(together, i), **CLOSE)


def test_the_order_of_streams_does_not_matter(case):
    model, batch = model_of(case), whole()
    turned = dict(reversed(batch.items()))
    assert logits_of(model, batch).equal(logits_of(model, turned))
    other = model_of(case, streams=dict(reversed(STREAMS.items())))
    assert logits_of(other, batch).equal(logits_of(model, batch))


@pytest.mark.parametrize("name", STREAMS)
def test_every_stream_that_is_read_changes_the_logits(case, reads, name):
    model, batch = model_of(case), whole()
    x = batch[name].x.clone()
    x[:, :8, :8] += torch.randn(8, 8, 1, generator=torch.Generator().manual_seed(3))
    change = (logits_of(model, {**batch, name: Field(x, batch[name].mask)}) - logits_of(model, batch)).abs().max()
    assert (change > 1e-4) == (name in reads)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_missing_in_one_sample_leaves_the_others_alone(case, name):
    model, batch = model_of(case), whole(3)
    mask = batch[name].mask.clone()
    mask[0] = False
    lacking = logits_of(model, {**batch, name: Field(batch[name].x, mask)})
    torch.testing.assert_close(lacking[1:], logits_of(model, batch)[1:], **CLOSE)
    assert lacking.isfinite().all()


def test_holes_in_a_picture_are_never_read(case):
    generator = torch.Generator().manual_seed(4)
    batch = {
        name: Field(field.x, field.mask & (torch.rand(field.mask.shape, generator=generator) > 0.4))
        for name, field in pictures().items()
    }
    holed = {n: Field(f.x.masked_fill(~f.mask[..., None], float("nan")), f.mask) for n, f in batch.items()}
    filled = {n: Field(f.x.nan_to_num(), f.mask) for n, f in batch.items()}
    assert logits_of(model_of(case), holed).equal(logits_of(model_of(case), filled))


def test_every_parameter_has_a_gradient(case):
    model = model_of((case[0], {**case[1], "drop_path": 0.0})).train()
    outputs, state = model.training_outputs(whole())
    assert outputs.logits.shape == (2, len(outputs.names), 16, 24, OUT)
    torch.testing.assert_close(outputs.weights.sum(1), torch.ones(2))
    target = torch.randn(outputs.logits.shape, generator=torch.Generator().manual_seed(2))
    ((outputs.logits * target).sum() + state.penalty).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_training_is_finite_where_samples_lack_streams(case):
    model = model_of(case).train()
    outputs, state = model.training_outputs(pictures())
    (outputs.logits.pow(2).mean() + state.penalty).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("base", [case for case in BASE if "segment" in case[1].values()], ids=case_id)
def test_counted_multiply_adds_are_those_of_pytorch(base):
    """Decoders of translation have no other products than encoders."""
    model, batch = model_of(base).requires_grad_(False), whole(1)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(batch)
    assert 2 * count_pixels(model, 16, 24) == counter.get_total_flops()


def test_saved_weights_give_the_same_logits(case):
    model, other = model_of(case), model_of(case, seed=7)
    other.load_state_dict(load(save(model.state_dict())))
    assert logits_of(other, pictures()).equal(logits_of(model, pictures()))


def test_bfloat16_agrees_with_float32(case):
    """bfloat16 keeps 8 bits: each product is off by up to 0.4 %, and the layers add some up."""
    model = model_of((case[0], {**case[1], **({"threshold": 0.0} if case[0] == "tokenfusion" else {})}))
    exact = logits_of(model, whole())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = logits_of(model, whole()).float()
    assert (rounded - exact).abs().max() > 1e-5, "autocast did nothing"
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.05 * float(exact.abs().max()))


def test_any_number_of_streams_of_any_name_works(case):
    options = {k: v for k, v in case[1].items() if k != "stream"}
    for streams in ({"type": 1}, {"a.b": 3, "pop": 3}, {"a.b": 3, "pop": 3, "type": 1, "forward": 2}):
        model = model_of((case[0], options), streams=streams)
        assert logits_of(model, whole(1, streams=streams)).isfinite().all()


def test_a_probe_sees_the_state_at_every_depth(case):
    model, seen = model_of(case), []
    logits = logits_of(model, whole(), probe=lambda depth, state: seen.append((depth, state)))
    assert [depth for depth, _ in seen] == list(range(len(model.layers) + 1))
    with torch.no_grad():
        assert model.head(seen[-1][1], 16, 24).equal(logits)
