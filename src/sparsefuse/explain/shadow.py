"""A layer's shadow: the linear map by which its attention mixes tokens, by forward hooks.

In the shadow every token carries one number in place of D features. Attention mixes the numbers by the weights that
it had in the true pass, averaged over heads; residuals add; all else is the identity. The shadow is thus the linear
map of attention rollout (Abnar & Zuidema 2020), however a method arranges its attention.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sparsefuse.layers.block import Attention, CrossAttention, Mlp
from sparsefuse.layers.exchange import Projection, Score
from sparsefuse.tokens import State, Tokens

Recording = dict[nn.Module, list[Tensor]]
"""Outputs of the modules that determine attention weights in the true pass, in order of the calls."""
Role = Callable[[Tensor, Tensor], Tensor]
"""(the module's input in the shadow, its output in the true pass) -> its output in the shadow."""

_NORMS = (nn.LayerNorm, nn.RMSNorm)


def check_traceable(layers: nn.Module) -> None:
    """Raises ValueError naming the first module with weights that has no role in the shadow."""
    covered = {part for module, role in roles(layers).items() if role is not _numbers for part in module.modules()}
    covered |= roles(layers).keys()
    for name, module in layers.named_modules():
        own = next(module.parameters(recurse=False), None)
        if own is not None and module not in covered and type(module).__module__.startswith("torch.nn"):
            raise ValueError(
                f"attention rollout cannot trace layers.{name} ({type(module).__name__}); expected attention "
                "made of sparsefuse.layers.block.Attention or CrossAttention, and other products inside block.Mlp"
            )


@contextmanager
def recorded(layer: nn.Module) -> Iterator[Recording]:
    """Records the outputs of the layer's modules that determine attention weights while it runs."""
    outputs: Recording = defaultdict(list)

    def note(module: nn.Module, _: object, out: Tensor) -> None:
        outputs[module].append(out)

    weighing = [module for module, role in roles(layer).items() if role in (_queries_and_keys, _keys, _recorded)]
    hooks = [module.register_forward_hook(note) for module in weighing]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def shadowed(layer: nn.Module, recording: Recording) -> Iterator[None]:
    """Turns the layer into its shadow: modules that determine attention weights repeat their recorded outputs."""
    replayed = {module: iter(outputs) for module, outputs in recording.items()}

    def played(role: Role) -> Callable[..., Tensor]:
        return lambda module, args, out: role(args[0], next(replayed[module]) if module in replayed else out)

    hooks = [module.register_forward_hook(played(role)) for module, role in roles(layer).items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def roles(layer: nn.Module) -> dict[nn.Module, Role]:
    """The role of each module of the layer in its shadow; modules without one run as they are."""
    by_module: dict[nn.Module, Role] = {}
    for module in layer.modules():
        if isinstance(module, Attention):
            by_module |= {module.qkv: _queries_and_keys, module.out: _numbers}
        elif isinstance(module, CrossAttention):
            by_module |= {module.q: _recorded, module.kv: _keys, module.out: _numbers}
        elif isinstance(module, Mlp):
            by_module[module] = _halved
        elif isinstance(module, Score):
            by_module[module] = _recorded
        elif isinstance(module, (Projection, *_NORMS)):
            by_module[module] = _same
    return by_module


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


def _recorded(_: Tensor, true: Tensor) -> Tensor:
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
