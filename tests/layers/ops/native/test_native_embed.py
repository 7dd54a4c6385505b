"""Features become tokens in C++ as they do in Python, there and back, and only where they can."""

import copy

import pytest
import torch

from sparsefuse.layers.embed import Embed
from sparsefuse.layers.ops import native
from sparsefuse.layers.ops.native import embed
from sparsefuse.tokens import Tokens

pytestmark = pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())


def made(width=7, dim=12, length=40, **options):
    torch.manual_seed(0)
    return Embed({"one": width, "two": 3}, dim, {"one": length, "two": 5}, **options)


def clips(lengths, padded, width=7):
    x = torch.randn(len(lengths), padded, width, generator=torch.Generator().manual_seed(0))
    return Tokens(x, torch.arange(padded) < torch.tensor(lengths, dtype=torch.long)[:, None])


def outcome(layer, tokens):
    """Tokens and masks of both streams, of which the second has no features, and the slopes of weights."""
    streams = layer({"one": tokens}).streams
    y = streams["one"].x
    towards = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    loss = (y * towards).sum() + streams["two"].x.square().sum()
    said = [y, streams["two"].x, streams["one"].mask, streams["two"].mask]
    return [*said, *torch.autograd.grad(loss, list(layer.parameters()))]


def in_python(layer, tokens):
    """In double precision, which C++ does not know."""
    return outcome(copy.deepcopy(layer).double(), Tokens(tokens.x.double(), tokens.mask))


def runs_in_cpp(layer, tokens):
    return type(layer({"one": tokens}).streams["one"].x.grad_fn).__name__ == "_EmbeddedBackward"


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    ("lengths", "padded", "width", "dim"),
    [([40, 40, 40], 40, 7, 12), ([33, 5, 0], 35, 7, 12), ([1], 1, 1, 4), ([40, 9], 40, 70, 60), ([], 9, 7, 12)],
)
def test_it_equals_the_embedding_in_python(lengths, padded, width, dim, threads):
    torch.set_num_threads(threads)
    layer, tokens = made(width, dim), clips(lengths, padded, width)
    assert runs_in_cpp(layer, tokens)
    for got, wanted in zip(outcome(layer, tokens), in_python(layer, tokens), strict=True):
        largest = float(wanted.detach().abs().max()) if wanted.numel() and wanted.is_floating_point() else 1
        torch.testing.assert_close(got.to(wanted), wanted, rtol=1e-5, atol=1e-5 * max(1, largest))


def test_neither_threads_nor_company_change_a_token():
    layer, tokens = made(), clips([40, 40, 40], 40)
    torch.set_num_threads(2)
    together = outcome(layer, tokens)[0]
    torch.set_num_threads(1)
    assert outcome(layer, Tokens(tokens.x[1:2], tokens.mask[1:2]))[0].equal(together[1:2])


def test_what_padding_holds_reaches_nothing():
    layer, tokens = made(), clips([40, 12], 40)
    broken = Tokens(tokens.x.masked_fill(~tokens.mask[..., None], torch.nan), tokens.mask)
    assert all(a.equal(b) for a, b in zip(outcome(layer, broken), outcome(layer, tokens), strict=True))


@pytest.mark.parametrize(
    ("layer", "tokens"),
    [
        (made(), clips([41], 41)),  # longer than the table of positions
        (made(keep_positions=True), clips([9], 9)),
        (made(embed.MAX_FEATURES + 1), clips([9], 9, embed.MAX_FEATURES + 1)),
        (made(), clips([9], 9)._replace(x=torch.randn(1, 9, 7).requires_grad_())),
    ],
    ids=["long", "positions", "wide", "slopes"],
)
def test_the_rest_is_left_to_python(layer, tokens):
    assert not runs_in_cpp(layer, tokens)


def test_gradients_that_lie_oddly_are_read_right():
    layer, tokens = made(), clips([9, 9, 9], 9)
    y = layer({"one": tokens}).streams["one"].x
    (slope,) = torch.autograd.grad(y.sum(), layer.cls[0])  # flows in as one number, expanded
    assert slope.equal(torch.full((12,), 3.0))


def test_gradients_of_gradients_are_refused():
    layer = made()
    y = layer({"one": clips([9], 9)}).streams["one"].x
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(y.sum(), layer.cls[0], create_graph=True)
