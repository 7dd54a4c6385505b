"""A block in C++ equals the block as it is written in Python, there and back, and is used only where it does."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsefuse.layers.block import Attention, Block
from sparsefuse.layers.fused import run_blocks
from sparsefuse.layers.ops import native
from sparsefuse.layers.sparsify import Sparsify
from sparsefuse.tokens import Tokens

pytestmark = pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())


def block(pattern="dense", num_heads=3, span=4, **options):
    return randomised(Block(4 * num_heads, num_heads, pattern=pattern, span=span, **options))


def sparsify(pattern="local", num_heads=3, span=4, **options):
    made = Attention(4 * num_heads, num_heads, pattern=pattern, span=span)
    return randomised(Sparsify(made, pool="avg", keep=5, **options))


def randomised(made):
    torch.manual_seed(0)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return made


def clips(lengths, padded, width=12, *, fractional=False):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(lengths), 1 + padded, width, generator=generator) + 3
    mask = torch.arange(padded) < torch.tensor(lengths)[:, None]
    mask = torch.cat([mask.any(1, keepdim=True), mask], 1)
    return Tokens(x, mask * (0.1 + 0.9 * torch.rand(mask.shape, generator=generator)) if fractional else mask)


def run(layer, tokens):
    """As a model does."""
    return run_blocks([layer], tokens)


def outcome(layer, tokens):
    """What comes out, and the slopes of tokens and weights, all as if nothing stood where the mask is 0."""
    x = tokens.x.clone().requires_grad_()
    y, mask = run(layer, Tokens(x, tokens.mask))
    towards = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y) * (mask > 0)[..., None]
    return [y * (mask > 0)[..., None], *torch.autograd.grad((y * towards).sum(), [x, *layer.parameters()])]


def in_python(layer, tokens):
    """In double precision, which C++ does not know."""
    return outcome(copy.deepcopy(layer).double(), Tokens(tokens.x.double(), tokens.mask))


def check(layer, tokens, rtol=1e-4):
    for got, wanted in zip(outcome(layer, tokens), in_python(layer, tokens), strict=True):
        largest = max(1.0, float(wanted.detach().abs().max()))
        torch.testing.assert_close(got.double(), wanted, rtol=rtol, atol=2e-5 * largest)


def names(y):
    """Of all operations that made y."""
    found, todo = set(), [y.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return {type(node).__name__ for node in found}


def runs_in_cpp(layer, tokens=None):
    tokens = tokens or clips([9, 20], 20)
    return "_BlocksBackward" in names(run(layer, Tokens(tokens.x.requires_grad_(), tokens.mask)).x)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    made=st.sampled_from([block, sparsify]),
    pattern=st.sampled_from(["dense", "local", "strided"]),
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=5),
    extra=st.integers(0, 3),
    num_heads=st.sampled_from([1, 3]),
    threads=st.sampled_from([1, 2, 3]),
    fractional=st.booleans(),
)
def test_it_equals_the_block_in_python(made, pattern, lengths, extra, num_heads, threads, fractional):
    torch.set_num_threads(threads)
    layer, tokens = made(pattern, num_heads), clips(lengths, max(lengths) + extra, 4 * num_heads, fractional=fractional)
    assert runs_in_cpp(layer, tokens)
    check(layer, tokens)


@pytest.mark.parametrize(("width", "mlp_ratio"), [(6, 2.5), (60, 0.25), (60, 2.5)])
def test_any_width_of_tokens_and_mlp(width, mlp_ratio):
    layer, tokens = randomised(Block(width, 6, mlp_ratio=mlp_ratio)), clips([40, 7], 40, width)
    assert runs_in_cpp(layer, tokens) == (width * mlp_ratio <= 128)
    check(layer, tokens)


@pytest.mark.parametrize("pattern", ["dense", "local", "strided"])
def test_it_holds_at_the_size_of_the_study(pattern):
    layer = randomised(Block(40, 5, pattern=pattern, span=16))
    check(layer, clips([150, 90, 31], 150, 40))


@pytest.mark.parametrize("pattern", ["dense", "local", "strided"])
def test_the_same_run_gives_the_same_bits_with_any_company(pattern):
    layer, tokens = block(pattern), clips([30, 30, 30, 30, 30], 30)
    torch.set_num_threads(2)
    first, second = outcome(layer, tokens), outcome(layer, tokens)
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))
    alone = outcome(layer, Tokens(tokens.x[4:], tokens.mask[4:]))  # by both threads, where above some had one
    assert alone[0].equal(first[0][4:])
    with torch.inference_mode():
        assert run(layer, tokens).x.equal(first[0].detach())


@pytest.fixture
def empty_is_no_number():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("pattern", ["dense", "local", "strided"])
def test_nothing_is_read_before_it_is_written(pattern, empty_is_no_number):
    layer, tokens = block(pattern), clips([30, 12], 30)
    check(layer, tokens)
    with torch.inference_mode():
        assert run(layer, tokens).x.isfinite().all()


def test_no_clips_move_no_weight(empty_is_no_number):
    assert not any(slope.any() for slope in outcome(block(), clips([], 9)))


def test_a_mask_that_lies_oddly_is_read_right():
    layer, tokens = block(), clips([12, 20], 20)
    odd = tokens._replace(mask=tokens.mask.T.contiguous().T)
    assert not odd.mask.is_contiguous()
    assert all(a.equal(b) for a, b in zip(outcome(layer, odd), outcome(layer, tokens), strict=True))


@pytest.mark.parametrize("layer", [lambda: block(style="vit"), lambda: block("fixed")], ids=["vit", "fixed"])
def test_other_blocks_are_left_to_python(layer):
    assert not runs_in_cpp(layer())


def test_weights_of_another_kind_raise_what_pytorch_says():
    layer = block()
    layer.mlp[1].double()
    with pytest.raises(RuntimeError, match="dtype"):
        layer(clips([9], 9))


def test_gradients_of_gradients_are_refused():
    layer, tokens = block(), clips([9], 9)
    y = run(layer, Tokens(tokens.x.requires_grad_(), tokens.mask)).x
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(y.sum(), tokens.x, create_graph=True)
