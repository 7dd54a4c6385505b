"""Runs modules as one fused operation of `ops`, where a backend has it and each module is unmodified.

An operation reads weights and calls no module. So a module that was subclassed, parametrised (LoRA), quantised, hooked,
compiled, or given another `forward` is always called, and so are those it would be fused with.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeGuard, TypeVar

from torch import Tensor, nn
from torch.nn.modules import module as registry

from sparsefuse.layers import ops
from sparsefuse.layers.block import Attention, Block, Mlp, Norm
from sparsefuse.layers.ops import BlockWeights
from sparsefuse.tokens import Tokens

_FORWARDS: dict[type[nn.Module], Callable[..., Any]] = {}
_CALL = nn.Module.__call__
_GLOBAL_HOOKS = (  # PyTorch's own function for it is newer than 2.6
    registry._global_forward_pre_hooks,
    registry._global_forward_hooks,
    registry._global_backward_pre_hooks,
    registry._global_backward_hooks,
)
M = TypeVar("M", bound=nn.Module)


def register(*kinds: type[nn.Module]) -> None:
    """Records the current `forward` of these classes, to notice if one is replaced later."""
    _FORWARDS.update((kind, kind.forward) for kind in kinds)


register(nn.Linear, nn.LayerNorm, nn.Dropout, nn.ReLU, Norm, Attention, Mlp, Block)


def is_unmodified(module: nn.Module, kind: type[M]) -> TypeGuard[M]:
    """Whether calling the module runs its class's own `forward` and nothing else: no hooks, LoRA, compile."""
    return (
        type(module) is kind  # a parametrisation makes a subclass
        and kind.forward is _FORWARDS[kind]
        and kind.__call__ is _CALL
        and "forward" not in module.__dict__
        and module._compiled_call_impl is None
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not (module._backward_hooks or module._backward_pre_hooks)
    )


def may_fuse(x: Tensor) -> bool:
    """Whether a backend may have fused operations for `x`, and there are no global module hooks."""
    return ops.has_alternative(x) and not has_global_hooks()


def has_global_hooks() -> bool:
    """Whether PyTorch calls something around every module."""
    return any(_GLOBAL_HOOKS)


def run_blocks(blocks: Sequence[nn.Module], tokens: Tokens) -> Tokens:
    """Runs blocks one after another; consecutive blocks of SFT's style run as one operation."""
    if not may_fuse(tokens.x):
        for block in blocks:
            tokens = block(tokens)
        return tokens
    fusable = [(_fusable_block(block), block) for block in blocks]
    for options, group in itertools.groupby(fusable, key=lambda pair: pair[0] and pair[0].options):
        stack, modules = zip(*group, strict=True)
        if options and (x := _fused([fusable.weights for fusable in stack], options, tokens)) is not None:
            tokens = Tokens(x, tokens.mask)
            continue
        for block in modules:
            tokens = block(tokens)
    return tokens


def run_attention(norm: nn.Module, attention: nn.Module, drop: nn.Module, tokens: Tokens) -> Tokens:
    """x + drop(attention(norm(x))) (SFT eq. 2), as one operation where that is possible."""
    x, mask = tokens
    if may_fuse(x) and (fusable := _fusable(norm, attention, drop)) is not None:
        fused = _fused([fusable.weights], fusable.options, tokens)
        if fused is not None:
            return Tokens(fused, mask)
    return Tokens(x + drop(attention(norm(x), mask).x), mask)


def run_embedding(x: Tensor, project: nn.Module, cls: Tensor, position: Tensor) -> Tensor | None:
    """Features (B, N, F) to tokens with their positions (B, 1 + N, D) as one operation; None where there is none."""
    if not may_fuse(x) or not is_unmodified(project, nn.Linear):
        return None
    weights = project.weight, project.bias, cls, position
    backend = None if project.bias is None else ops.alternative("embedding", x, *weights)
    return backend and backend.embedding(x, *weights)


class _Options(NamedTuple):
    """The options that blocks must share to run as one operation."""

    num_heads: int
    pattern: ops.Pattern
    span: int
    eps: float
    hidden: int


class _Fusable(NamedTuple):
    weights: BlockWeights
    options: _Options


def _fused(stack: Sequence[BlockWeights], options: _Options, tokens: Tokens) -> Tensor | None:
    num_heads, pattern, span, eps, _ = options
    x, mask = tokens
    backend = ops.alternative("blocks", x, mask, stack, num_heads=num_heads, pattern=pattern)
    return backend and backend.blocks(x, mask, stack, num_heads=num_heads, pattern=pattern, span=span, eps=eps)


def _fusable_block(block: nn.Module) -> _Fusable | None:
    if not is_unmodified(block, Block) or block.causal:
        return None
    return _fusable(block.norm, block.attention, block.drop, block.mlp)


def _fusable(norm: nn.Module, attention: nn.Module, drop: nn.Module, mlp: nn.Module | None = None) -> _Fusable | None:
    """The weights of the modules of a block; None unless all are unmodified and no dropout is active."""
    if not (is_unmodified(norm, Norm) and is_unmodified(attention, Attention) and _is_idle(drop)):
        return None
    own = _weights_of(attention.qkv, attention.out)
    options = _Options(attention.num_heads, attention.pattern, attention.span, norm.eps, hidden=0)
    if own is None or mlp is None:
        return None if own is None else _Fusable(BlockWeights(*own), options)
    if not is_unmodified(mlp, Mlp) or len(mlp) != 5:
        return None
    second_norm, first, inner_drop, activation, second = mlp
    if not (is_unmodified(second_norm, nn.LayerNorm) and second_norm.eps == norm.eps and second_norm.bias is not None):
        return None
    if not (_is_idle(inner_drop) and is_unmodified(activation, nn.ReLU)):
        return None
    of_mlp = _weights_of(first, second)
    if of_mlp is None:
        return None
    weights = BlockWeights(*own, second_norm.weight, second_norm.bias, *of_mlp)
    return _Fusable(weights, options._replace(hidden=len(of_mlp[0])))


def _weights_of(first: nn.Module, second: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Both weights and biases; None unless both are unmodified nn.Linear with a bias."""
    if not (is_unmodified(first, nn.Linear) and is_unmodified(second, nn.Linear)):
        return None
    if first.bias is None or second.bias is None:
        return None
    return first.weight, first.bias, second.weight, second.bias


def _is_idle(drop: nn.Module) -> bool:
    """Whether a dropout is the identity: in eval mode, or with p = 0."""
    return is_unmodified(drop, nn.Dropout) and (not drop.training or drop.p == 0)
