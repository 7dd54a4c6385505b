"""Blocks run as one operation to the same bits as one by one, and only if every module is exactly as it was made."""

import pytest
import torch

from sparsefuse.layers import lora, ops
from sparsefuse.layers.block import Attention, Block, CrossAttention
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.ops import native
from sparsefuse.layers.sparsify import Sparsify
from sparsefuse.layers.streams import PerStream, run_layers
from sparsefuse.methods import build
from sparsefuse.mixup import Mix
from sparsefuse.tokens import State, Tokens

pytestmark = [
    pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable()),
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


def one_by_one(layers, state):
    for layer in layers:
        state = layer(state)
    return state


def outcome(run, layers, state):
    """What comes out of all streams, and the gradients of tokens and weights."""
    streams = {name: Tokens(x.clone().requires_grad_(), mask) for name, (x, mask) in state.streams.items()}
    outputs = run(layers, state._replace(streams=streams)).streams
    loss = sum((y.square() * mask[..., None]).sum() for y, mask in outputs.values())
    leaves = [*(tokens.x for tokens in streams.values()), *(w for layer in layers for w in layer.parameters())]
    return [*(tokens.x for tokens in outputs.values()), *torch.autograd.grad(loss, leaves)]


def operations(y, name="_BlocksBackward"):
    """How many operations of that name made y."""
    found, todo = set(), [y.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return sum(type(node).__name__ == name for node in found)


def fused(layers, state):
    """How many operations the blocks of the first stream became."""
    return operations(run_layers(layers, state).streams["one"].x)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("clips", [1, 4, 5])
@pytest.mark.parametrize("pattern", ["dense", "local", "strided"])
def test_they_do_what_they_do_one_by_one(pattern, clips, threads):
    torch.set_num_threads(threads)
    layers, found = stack(pattern=pattern), state(clips)
    assert fused(layers, found) == 1
    for got, wanted in zip(outcome(run_layers, layers, found), outcome(one_by_one, layers, found), strict=True):
        assert got.equal(wanted)
    with torch.inference_mode():
        got, wanted = run_layers(layers, found), one_by_one(layers, found)
    assert all(got.streams[name].x.equal(wanted.streams[name].x) for name in found.streams)


def test_streams_that_do_not_pass_stay():
    layers, found = stack(names=("one",)), state()
    assert run_layers(layers, found).streams["two"] is found.streams["two"]


def test_blocks_run_as_one_around_what_is_not_alike():
    layers, found = stack(7), state(ragged=False)
    assert fused(layers, found) == 1
    for place in (2, 4):
        layers[place] = stack(1, pattern="local")[0]
    assert fused(layers, found) == 5  # 2, local, 1, local, 2
    layers[6] = stack(1, mlp_ratio=2.0)[0]
    assert fused(layers, found) == 6
    layers[6] = layers[5]
    layers[3] = stack(1, style="vit")[0]
    assert fused(layers, found) == 4
    layers[3] = torch.nn.Identity()
    assert fused(layers, found) == 4


def test_one_stream_that_cannot_leaves_the_others():
    layers, found = stack(), state()
    layers[1].blocks[1].mlp[3] = torch.nn.GELU()
    assert fused(layers, found) == 1
    assert operations(run_layers(layers, found).streams["two"].x) == 2
    for got, wanted in zip(outcome(run_layers, layers, found), outcome(one_by_one, layers, found), strict=True):
        assert got.equal(wanted)


# ------------------------------------------------------------------------------------ no module is ever passed over


class PlusOne(torch.nn.Linear):
    """A layer of one's own."""

    def forward(self, x):
        return super().forward(x) + 1


class LowRankLinear(torch.nn.Linear):
    """LoRA as a subclass has it: the weight as it was, and a change beside it."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.down, self.up = torch.nn.Linear(sizes[0], 2, bias=False), torch.nn.Linear(2, sizes[1], bias=False)

    def forward(self, x):
        return super().forward(x) + self.up(self.down(x))


class Doubled(torch.nn.Module):
    """A parametrisation."""

    def forward(self, weight):
        return 2 * weight


def replaced(kind):
    def change(model, name):
        old = model.get_submodule(name)
        new = kind(old.in_features, old.out_features)
        new.load_state_dict(old.state_dict(), strict=False)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, new)

    return change


def set_forward(model, name):
    module = model.get_submodule(name)
    forward = module.forward
    module.forward = lambda x: forward(x) + 1


def hooked(model, name):
    model.get_submodule(name).register_forward_hook(lambda module, args, out: out + 1)


def hooked_before(model, name):
    model.get_submodule(name).register_forward_pre_hook(lambda module, args: (args[0] + 1,))


def parametrised(model, name):
    torch.nn.utils.parametrize.register_parametrization(model.get_submodule(name), "weight", Doubled())


def quantised(model, name):
    old = model.get_submodule(name)
    torch.backends.quantized.engine = "fbgemm"
    new = torch.ao.nn.quantized.dynamic.Linear(old.in_features, old.out_features)
    weight = torch.quantize_per_tensor(old.weight.detach(), 0.05, 0, torch.qint8)  # coarse: the difference shows
    new.set_weight_bias(weight, old.bias.detach())
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)


CHANGES = {
    "subclass": replaced(PlusOne),
    "low rank": replaced(LowRankLinear),
    "parametrize": parametrised,
    "lora": lambda model, name: [
        torch.nn.init.normal_(weight)
        for weight in lora.add([model.get_submodule(name)], 2, torch.Generator().manual_seed(0))
    ],
    "hook": hooked,
    "hook before": hooked_before,
    "forward": set_forward,
}
PLACES = {
    "attention": (lambda: Attention(12, 3), ["qkv", "out"]),
    "cross": (lambda: CrossAttention(12, 3), ["q", "kv", "out"]),
    "block": (lambda: Block(12, 3), ["attention.qkv", "attention.out", "mlp.1", "mlp.4"]),
    "sparsify": (lambda: Sparsify(Attention(12, 3), pool="avg", keep=4), ["attention.qkv", "attention.out"]),
    "embed": (lambda: Embed({"one": 12}, 8, {"one": 20}), ["project.0"]),
}


def outputs(module, x):
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    if isinstance(module, Attention):
        return module(x, mask).x
    if isinstance(module, CrossAttention):
        return module(x, x, mask)
    if isinstance(module, Embed):
        return module({"one": Tokens(x, mask)}).streams["one"].x
    if isinstance(module, Block):
        layer = PerStream(["one"], lambda name: module)
        return run_layers([layer], State({"one": Tokens(x, mask)}, x.new_zeros(()))).streams["one"].x
    return module(Tokens(x, mask)).x


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (_, names) in PLACES.items() for name in names])
def test_a_changed_linear_layer_is_honoured_by_every_backend(kind, name, change):
    torch.manual_seed(0)
    module, x = PLACES[kind][0](), torch.randn(3, 20, 12, generator=torch.Generator().manual_seed(1))
    before = outputs(module, x)
    CHANGES[change](module, name)
    results = {}
    for backend in ("torch", "native"):
        with ops.backend(backend):
            results[backend] = outputs(module, x)
    torch.testing.assert_close(results["native"], results["torch"], rtol=1e-4, atol=1e-5)
    assert (results["native"] - before).abs().max() > 1e-2  # it does change what comes out


@pytest.mark.filterwarnings("ignore:torch.*deprecated")
@pytest.mark.parametrize(
    ("kind", "name"), [("attention", "qkv"), ("block", "attention.out"), ("sparsify", "attention.qkv")]
)
def test_a_quantised_layer_is_honoured(kind, name):
    torch.manual_seed(0)
    module, x = PLACES[kind][0](), torch.randn(3, 20, 12, generator=torch.Generator().manual_seed(1))
    before = outputs(module, x)
    quantised(module, name)
    with ops.backend("torch"):
        wanted = outputs(module, x)
    torch.testing.assert_close(outputs(module, x), wanted, rtol=1e-4, atol=1e-5)
    assert (wanted - before).abs().max() > 1e-3


@pytest.mark.parametrize("part", ["", "norm", "attention", "drop", "mlp", "mlp.0", "mlp.2", "mlp.3"])
def test_every_module_of_a_block_can_be_listened_to(part):
    layers, found, calls = stack(1), state(), []
    assert fused(layers, found) == 1
    module = layers[0].blocks[0].get_submodule(part)
    for hook in (module.register_forward_hook, module.register_full_backward_hook):
        handle = hook(lambda *_: calls.append(1))
        assert fused(layers, found) == 0
        handle.remove()
    assert len(calls) == 1 if part != "drop" else 2
    assert fused(layers, found) == 1


def test_a_hook_on_all_modules_sees_all_of_them():
    layers, found = stack(2), state()
    seen = []
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, *given: seen.append(module))
    try:
        run_layers(layers, found)
    finally:
        handle.remove()
    inside = [module for layer in layers for module in layer.modules() if not isinstance(module, torch.nn.ModuleList)]
    assert set(inside) == set(seen)


def test_a_class_whose_forward_was_replaced_is_called(monkeypatch):
    layers, found = stack(2), state()
    before = run_layers(layers, found).streams["one"].x
    forward, call = torch.nn.Linear.forward, torch.nn.Module.__call__
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Module, "__call__", lambda self, *args: call(self, *args))
        assert fused(layers, found) == 0
    assert fused(layers, found) == 1
    monkeypatch.setattr(torch.nn.Linear, "forward", lambda self, x: forward(self, x) + 1)
    assert fused(layers, found) == 0
    assert (run_layers(layers, found).streams["one"].x - before).abs().max() > 1e-2


@pytest.mark.parametrize(
    "change",
    [
        lambda block: block.mlp.__setitem__(3, torch.nn.GELU()),
        lambda block: setattr(block.mlp[0], "eps", 0.1),
        lambda block: block.mlp.append(torch.nn.Linear(12, 12)),
        lambda block: setattr(block, "norm", torch.nn.LayerNorm(12)),
        lambda block: setattr(block.attention, "qkv", torch.nn.Linear(12, 36, bias=False)),
        lambda block: block.mlp.__setitem__(4, torch.nn.Linear(12, 12, bias=False)),
        lambda block: setattr(block, "drop", torch.nn.Dropout(0.5)),
        lambda block: block.mlp.__setitem__(2, torch.nn.Dropout(0.5)),
        lambda block: block.compile(backend="eager"),
        lambda block: block.double(),
    ],
    ids=["GELU", "eps", "longer", "norm", "bias", "second bias", "drop", "inner drop", "compiled", "double"],
)
def test_what_an_operation_does_not_know_is_left_to_modules(change):
    layers, found = stack(1), state()
    change(layers[0].blocks[0])
    if layers[0].blocks[0].attention.out.weight.dtype == torch.double:
        x, mask = found.streams["one"]
        found = found._replace(streams={"one": Tokens(x.double(), mask)})
        layers = [PerStream(["one"], lambda name: layers[0].blocks[0])]
    assert fused(layers, found) == 0


def test_dropping_is_left_to_modules_only_in_training():
    layers, found = stack(1, drop=0.5), state()
    assert fused(layers, found) == 0
    layers[0].eval()
    assert fused(layers, found) == 1


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
