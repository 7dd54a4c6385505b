"""One switch and one choice; what must see PyTorch's operations sees them."""

import pytest
import torch
from torch.func import functional_call, grad, hessian, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sparsefuse.cost.count import total
from sparsefuse.layers import ops
from sparsefuse.layers.ops import PATTERNS, backends, native, triton
from sparsefuse.methods import build
from sparsefuse.tokens import Tokens

FEATURES, LENGTHS = {"one": 6, "two": 4}, {"one": 30, "two": 50}
SPARSE = {"sparse": "local", "unimodal_attention": "strided"}
needs_native = pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())


def made(method="sft", **options):
    torch.manual_seed(0)
    sizes = {"dim": 12, "num_heads": 3}
    if method == "sft":
        options = {"keep": 4, "fusion_depth": 2, **options}
    return build(method, FEATURES, 3, lengths=LENGTHS, **sizes, **options)


def clips(count=2):
    generator = torch.Generator().manual_seed(0)
    return {
        name: Tokens(
            torch.randn(count, length, FEATURES[name], generator=generator), torch.ones(count, length, dtype=torch.bool)
        )
        for name, length in LENGTHS.items()
    }


def chosen(q=None, pattern="dense"):
    q = torch.randn(1, 3, 9, 4) if q is None else q
    return ops.choose("attention", q, q, q, torch.ones(1, 9, dtype=torch.bool), pattern=pattern)


@needs_native
def test_the_context_the_variable_and_the_default_choose(monkeypatch):
    assert chosen() is native
    monkeypatch.setenv("SPARSEFUSE_BACKEND", "torch")
    assert chosen() is ops.definition
    with ops.backend("native"):
        assert chosen() is native
        with ops.backend("auto"):
            assert chosen() is native
        with ops.backend("torch"):
            assert chosen() is ops.definition
        assert chosen() is native
    assert chosen() is ops.definition


def test_an_unknown_backend_is_named_with_the_nearest(monkeypatch):
    with pytest.raises(ValueError, match="unknown backend 'nativ'; did you mean 'native'"), ops.backend("nativ"):
        pass
    monkeypatch.setenv("SPARSEFUSE_BACKEND", "cuda")
    with pytest.raises(ValueError, match=r"unknown SPARSEFUSE_BACKEND 'cuda'. available: auto, native, torch, triton"):
        chosen()


def test_a_backend_asked_for_by_name_must_be_there(monkeypatch):
    monkeypatch.setattr(native, "unavailable", lambda: "this wheel holds none")
    assert chosen() is ops.definition
    with ops.backend("native"), pytest.raises(RuntimeError, match="native is not available: this wheel holds none"):
        chosen()
    monkeypatch.setattr(triton, "unavailable", lambda: "there is no CUDA device")
    without = {"native": "not used: this wheel holds none", "triton": "not used: there is no CUDA device"}
    assert ops.status() == {"torch": "used", **without}
    with ops.backend("triton"), pytest.raises(RuntimeError, match="triton is not available: there is no CUDA device"):
        chosen()


@needs_native
def test_what_watches_operations_gets_the_definition():
    q = torch.randn(1, 3, 9, 4)
    assert chosen(q) is native
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert chosen(q) is ops.definition
    with FlopCounterMode(display=False):
        assert chosen(q) is ops.definition
    with torch.autograd.forward_ad.dual_level():
        assert chosen(q) is ops.definition
    assert chosen(torch.nn.Buffer(q)) in (native, ops.definition)
    assert chosen(q.to("meta")) is ops.definition
    assert vmap(lambda x: torch.tensor(float(chosen(x[None]) is native)) + 0 * x.sum())(q).item() == 0


@needs_native
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_trace_holds_pytorchs_operations():
    q, mask = torch.randn(1, 3, 9, 4), torch.ones(1, 9, dtype=torch.bool)
    traced = torch.jit.trace(lambda q: ops.attention(q, q, q, mask), q)
    assert "aten::" in str(traced.graph)
    assert "PythonOp" not in str(traced.graph)
    other = torch.randn(1, 3, 9, 4)
    torch.testing.assert_close(traced(other), ops.attention(other, other, other, mask), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("method", ["sft", "late", "mbt", "mult"])
def test_a_flop_counter_sees_what_cost_reports(method, options):
    model = made(method, **({} if method != "sft" else options)).eval()
    with FlopCounterMode(display=False) as counter:
        model(clips(1))
    assert counter.get_total_flops() == 2 * total(model, LENGTHS) > 0


def loss_of(model, x, streams):
    first = streams["one"]._replace(x=x)
    return model({**streams, "one": first}).logits.square().sum()


@pytest.mark.parametrize("options", [{}, SPARSE, {"pool": "attn"}], ids=["plain", "sparse", "attn"])
def test_torch_func_differentiates(options):
    model, streams = made(**options).eval(), clips()
    x = streams["one"].x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(loss_of(model, x, streams), x)
    got = grad(lambda x: loss_of(model, x, streams))(x.detach())
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    weights = dict(model.named_parameters())

    def by_weights(weights):
        return functional_call(model, weights, (streams,)).logits.square().sum()

    for name, slope in grad(by_weights)(weights).items():
        own = torch.autograd.grad(by_weights(weights), weights[name], allow_unused=True)[0]
        torch.testing.assert_close(slope, torch.zeros_like(slope) if own is None else own, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", [{}, SPARSE], ids=["plain", "sparse"])
def test_vmap_over_samples_is_a_batch(options):
    model, streams = made(**options).eval(), clips(4)
    wanted = model(streams).logits

    def one(x, y):
        masks = {name: t.mask[:1] for name, t in streams.items()}
        return model({"one": Tokens(x[None], masks["one"]), "two": Tokens(y[None], masks["two"])}).logits[0]

    torch.testing.assert_close(vmap(one)(streams["one"].x, streams["two"].x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch on its own rules for jvp
@pytest.mark.parametrize("pattern", PATTERNS)
def test_hessians_by_torch_func_are_those_of_differences(pattern):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, 9, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    mask = torch.ones(1, 9, dtype=torch.bool)

    def loss(x):
        return ops.attention(x, k, v, mask, pattern=pattern, span=2).square().sum()

    got = hessian(loss)(q)[0, 0, 3, 1, 0, 0]
    step = torch.zeros_like(q)
    step[0, 0, 3, 1] = 1e-5
    wanted = (grad(loss)(q + step) - grad(loss)(q - step))[0, 0] / 2e-5
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-7)


@needs_native
def test_second_derivatives_are_refused_by_a_sentence_that_names_the_switch():
    q = torch.randn(1, 3, 9, 4, requires_grad=True)
    x = ops.attention(q, q, q, torch.ones(1, 9, dtype=torch.bool))
    with pytest.raises(RuntimeError, match=r"no second derivatives .*sparsefuse.backend\(\"torch\"\)"):
        torch.autograd.grad(x.sum(), q, create_graph=True)


def test_second_derivatives_work_by_the_definition():
    q = torch.randn(1, 1, 9, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(1, 9, dtype=torch.bool)
    for pattern in PATTERNS:
        with ops.backend("torch"), sdpa_kernel(SDPBackend.MATH):
            x = ops.attention(q, q.detach(), q.detach(), mask, pattern=pattern, span=2)
            (slope,) = torch.autograd.grad(x.square().sum(), q, create_graph=True)
            (second,) = torch.autograd.grad(slope.square().sum(), q)
        assert second.isfinite().all(), pattern
        assert second.any(), pattern


def test_the_switch_reaches_threads_by_their_context():
    with ops.backend("torch"):
        assert backends.requested() == "torch"
    assert backends.requested() == "auto"


class Tagged(torch.Tensor):
    """A tensor of one's own, as quantised and distributed weights are."""


def block_weights(dim=12, hidden=12):
    sizes = [
        (3 * dim, dim),
        (3 * dim,),
        (dim, dim),
        (dim,),
        (dim,),
        (dim,),
        (hidden, dim),
        (hidden,),
        (dim, hidden),
        (dim,),
    ]
    return ops.BlockWeights(*(torch.zeros(size) for size in sizes))


@needs_native
@pytest.mark.parametrize(
    "change",
    [
        lambda x, w: (x.as_subclass(Tagged), [w]),
        lambda x, w: (x, [w._replace(out=w.out.as_subclass(Tagged))]),
        lambda x, w: (x, [w._replace(second=w.second.double())]),
        lambda x, w: (x, [w._replace(first=w.first.T.contiguous().T)]),
        lambda x, w: (x, [w, block_weights(hidden=24)]),
    ],
    ids=["tokens", "weight", "double", "strides", "sizes"],
)
def test_tensors_that_cpp_would_read_wrongly_go_to_the_definition(change):
    x, mask, weights = torch.zeros(1, 9, 12), torch.ones(1, 9, dtype=torch.bool), block_weights()
    options = {"num_heads": 3, "pattern": "dense"}
    assert ops.choose("blocks", x, mask, [weights], **options) is native
    x, stack = change(x, weights)
    assert ops.choose("blocks", x, mask, stack, **options) is ops.definition
