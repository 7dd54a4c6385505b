"""Blocks that go at once do what they do one after another, to the last bit, and only where nobody looks between."""

import pytest
import torch

from sparsefuse.layers.block import Block, PerStream
from sparsefuse.layers.ops.native import building
from sparsefuse.layers.streams import leading
from sparsefuse.methods import build
from sparsefuse.mixup import Mix
from sparsefuse.tokens import State, Tokens

pytestmark = [
    pytest.mark.skipif(building.library("attention", 4) is None, reason="no C++ compiler here"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),  # torch on importing its compiler
]


def stack(depth=4, names=("one", "two"), pattern="dense", **options):
    torch.manual_seed(0)
    made = [PerStream(names, lambda name: Block(12, 3, pattern=pattern, span=4, **options)) for _ in range(depth)]
    for weight in (weight for layer in made for weight in layer.parameters()):
        torch.nn.init.normal_(weight, std=0.3)
    return made


def state(clips=3, names=("one", "two"), *, ragged=True):
    generator = torch.Generator().manual_seed(0)
    streams = {}
    for i, name in enumerate(names):
        mask = torch.ones(clips, 20 + i, dtype=torch.bool)
        mask[1:, 15:] = not ragged
        streams[name] = Tokens(torch.randn(*mask.shape, 12, generator=generator), mask)
    return State(streams, torch.zeros(()))


def one_by_one(layers, found):
    for layer in layers:
        found = layer(found)
    return found


def outcome(run, layers, found):
    """What comes out of all streams, and the slopes of tokens and weights."""
    streams = {name: Tokens(x.clone().requires_grad_(), mask) for name, (x, mask) in found.streams.items()}
    made = run(layers, found._replace(streams=streams)).streams
    loss = sum((y.square() * mask[..., None]).sum() for y, mask in made.values())
    leaves = [*(tokens.x for tokens in streams.values()), *(w for layer in layers for w in layer.parameters())]
    return [*(tokens.x for tokens in made.values()), *torch.autograd.grad(loss, leaves)]


def all_at_once(layers, found):
    found, count = leading(layers, found)
    assert count == len(layers)
    return found


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("clips", [1, 4, 5])
@pytest.mark.parametrize("pattern", ["dense", "local", "strided"])
def test_they_do_what_they_do_one_by_one(pattern, clips, threads):
    torch.set_num_threads(threads)
    layers, found = stack(pattern=pattern), state(clips)
    for got, wanted in zip(outcome(all_at_once, layers, found), outcome(one_by_one, layers, found), strict=True):
        assert got.equal(wanted)
    with torch.inference_mode():
        got, wanted = all_at_once(layers, found), one_by_one(layers, found)
    assert all(got.streams[name].x.equal(wanted.streams[name].x) for name in found.streams)


def test_streams_that_do_not_pass_stay():
    layers, found = stack(names=("one",)), state()
    assert all_at_once(layers, found).streams["two"] is found.streams["two"]


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda layers: layers[2].register_forward_hook(lambda *given: None), 2),
        (lambda layers: layers[2].blocks[1].register_forward_hook(lambda *given: None), 2),
        (lambda layers: layers[0].blocks[0].attention.register_forward_hook(lambda *given: None), 1),
        (lambda layers: layers[2].compile(), 2),
        (lambda layers: layers.__setitem__(2, torch.nn.Identity()), 2),
        (lambda layers: layers.__setitem__(2, stack(1, ("one",))[0]), 2),
        (lambda layers: layers.__setitem__(2, stack(1, style="vit")[0]), 2),
        (lambda layers: layers.__setitem__(2, stack(1, mlp_ratio=2.0)[0]), 1),
        (lambda layers: layers.__setitem__(2, stack(1, pattern="local")[0]), 1),
        (lambda layers: layers[1].blocks[0].mlp.__setitem__(2, torch.nn.Dropout(0.5)), 1),
    ],
    ids=["layer", "block", "attention", "compiled", "another", "streams", "style", "width", "pattern", "dropout"],
)
def test_what_is_not_alike_or_looked_at_parts_them(change, count):
    layers, found = stack(), state(ragged=False)
    change(layers)
    got, passed = leading(layers, found)
    assert passed == count
    if count > 1:
        assert got.streams["one"].x.equal(one_by_one(layers[:2], found).streams["one"].x)


def test_one_stream_that_cannot_goes_block_by_block():
    layers, found = stack(), state()
    layers[1].blocks[1].mlp[3] = torch.nn.GELU()
    for got, wanted in zip(outcome(all_at_once, layers, found), outcome(one_by_one, layers, found), strict=True):
        assert got.equal(wanted)


def test_probes_see_every_depth_and_mixing_parts_the_stack():
    torch.manual_seed(0)
    model = build("sft", {"one": 5}, 3, lengths={"one": 20}, keep=4, fusion_depth=5, dim=12, num_heads=3)
    clips = {"one": Tokens(torch.randn(4, 20, 5), torch.ones(4, 20, dtype=torch.bool))}
    depth = len(model.layers) - 2
    own = torch.full((4,), 0.3)
    mix = Mix(depth, torch.tensor([1, 0, 3, 2]), {"fused": own}, own)
    seen = []

    def look(at, state):
        seen.append(at)

    looked_at, unseen = model(clips, mix, look).logits, model(clips, mix).logits
    assert seen == list(range(len(model.layers) + 1))
    assert unseen.equal(looked_at)
    assert not unseen.equal(model(clips).logits)
