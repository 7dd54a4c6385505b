"""A layer's shadow: where it takes its tokens from, without what it makes of them.

In the shadow every token carries one number in place of D features. Attention hands the numbers on by the weights that
it had in the true pass, averaged over heads; residuals add; all else lets them through. The shadow is thus the linear
map of attention rollout (Abnar & Zuidema 2020), whatever way a method wires its attention.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sparsefuse.layers.block import Attention, CrossAttention, Mlp
from sparsefuse.layers.exchange import Projection, Score
from sparsefuse.tokens import State, Tokens

Said = dict[nn.Module, list[Tensor]]
"""What the modules that decide on weights gave in the true pass, in the order they were asked."""
Role = Callable[[Tensor, Tensor], Tensor]
"""The shadow's input and the true output in, the shadow's output out."""

_NORMS = (nn.LayerNorm, nn.RMSNorm)


def check_traceable(layers: nn.Module) -> None:
    """Raises ValueError naming the first module with weights that the shadow has no role for."""
    covered = {part for module, role in roles(layers).items() if role is not _numbers for part in module.modules()}
    covered |= roles(layers).keys()
    for name, module in layers.named_modules():
        own = next(module.parameters(recurse=False), None)
        if own is not None and module not in covered and type(module).__module__.startswith("torch.nn"):
            raise ValueError(
                f"attention rollout cannot see through layers.{name} ({type(module).__name__}); expected attention "
                "made of sparsefuse.layers.block.Attention or CrossAttention, and other products inside block.Mlp"
            )


@contextmanager
def recorded(layer: nn.Module) -> Iterator[Said]:
    """Notes what the layer's deciding modules say while it runs."""
    said: Said = defaultdict(list)

    def note(module: nn.Module, _: object, out: Tensor) -> None:
        said[module].append(out)

    deciding = [module for module, role in roles(layer).items() if role in (_queries_and_keys, _keys, _said)]
    hooks = [module.register_forward_hook(note) for module in deciding]
    try:
        yield said
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def shadowed(layer: nn.Module, said: Said) -> Iterator[None]:
    """Makes the layer its shadow: what decides on weights says again what it said in the true pass."""
    again = {module: iter(outputs) for module, outputs in said.items()}

    def played(role: Role) -> Callable[..., Tensor]:
        return lambda module, args, out: role(args[0], next(again[module]) if module in again else out)

    hooks = [module.register_forward_hook(played(role)) for module, role in roles(layer).items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def roles(layer: nn.Module) -> dict[nn.Module, Role]:
    """The part that each module of the layer plays in its shadow; the others run as they are."""
    found: dict[nn.Module, Role] = {}
    for module in layer.modules():
        if isinstance(module, Attention):
            found |= {module.qkv: _queries_and_keys, module.out: _numbers}
        elif isinstance(module, CrossAttention):
            found |= {module.q: _said, module.kv: _keys, module.out: _numbers}
        elif isinstance(module, Mlp):
            found[module] = _halved
        elif isinstance(module, Score):
            found[module] = _said
        elif isinstance(module, (Projection, *_NORMS)):
            found[module] = _same
    return found


def _queries_and_keys(x: Tensor, true: Tensor) -> Tensor:
    """(B, N, D) -> (B, N, 3 D): queries and keys as they were, the numbers as values."""
    dim = true.shape[-1] // 3
    return torch.cat([true[..., : 2 * dim], _numbers(x, true[..., :dim])], -1)


def _keys(x: Tensor, true: Tensor) -> Tensor:
    """(B, N, D) -> (B, N, 2 D): keys as they were, the numbers as values."""
    dim = true.shape[-1] // 2
    return torch.cat([true[..., :dim], _numbers(x, true[..., :dim])], -1)


def _numbers(x: Tensor, true: Tensor) -> Tensor:
    """One number per token, their mean over features: after attention, the mean over heads."""
    return x.mean(-1, keepdim=True).expand_as(true)


def _said(_: Tensor, true: Tensor) -> Tensor:
    return true


def _same(x: Tensor, _: Tensor) -> Tensor:
    return x


def _halved(x: Tensor, _: Tensor) -> Tensor:
    """With the residual around it, x + W x becomes (x + W x) / 2: Abnar & Zuidema's rule for a block."""
    return -0.5 * x


def filled(state: State, values: dict[str, Tensor]) -> State:
    """The state with every token's features set to its number, (B, N) per stream; a stream without numbers is 0."""
    streams = {
        name: Tokens(values[name][..., None].expand_as(x) if name in values else torch.zeros_like(x), mask)
        for name, (x, mask) in state.streams.items()
    }
    return state._replace(streams=streams)
