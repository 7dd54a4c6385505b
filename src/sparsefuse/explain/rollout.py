"""Attention rollout (Abnar & Zuidema 2020): how much of each token reaches the head.

One rule serves every method. The true pass records all attention; the shadow pass (`shadow`) sends one number per token
through the same attention; the gradient of the head's input with respect to the first numbers is the product of all
attention matrices. After each layer, rows are scaled to sum to one, as in the paper.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.explain.shadow import Recording, check_traceable, filled, recorded, shadowed
from sparsefuse.layers.streams import presence
from sparsefuse.model import FusionModel
from sparsefuse.tokens import State, Tokens

NOTHING = 1e-9
"""Below this, a row's sum is rounding."""
LINEAR = 1e-6
"""How far a shadow may be from linear; means of `local` attention are float32."""

MEAN_OF_MAX = "Max pooling is traced as the mean of its window: every token of a window gets the same share."


class Rollout(NamedTuple):
    """How much of each token reached the head. Of a sample, tokens and `learned` sum to one."""

    tokens: dict[str, Tensor]
    """(B, N) per modality; 0 for padding"""
    learned: Tensor
    """(B,) what came from CLS and other learned tokens, which are the same for every clip"""
    depths: tuple[dict[str, Tensor], ...]
    """(B, 1 + N) per stream, CLS included, after the embedding and after each layer; each depth sums to one"""
    notes: tuple[str, ...]
    """where the trace differs from the model's computation"""


class _Step(NamedTuple):
    """One layer in the true pass: the state before and after it, and the outputs that determine attention weights."""

    before: State
    after: State
    recording: Recording


def rollout(model: FusionModel, tokens: dict[str, Tokens]) -> Rollout:
    """Relevance of every token of every sample; the model is left as it is.

    Raises ValueError for a layer that mixes tokens by other means than `layers.block`, as another library's attention.
    """
    check_traceable(model.layers)
    model = copy.deepcopy(model).double().eval().requires_grad_(False)
    steps = _true_pass(model, {name: Tokens(t.x.double(), t.mask) for name, t in tokens.items()})
    notes = _without_max(model.layers)
    # The other streams after the embedding are positions, kept for later layers.
    values = [{name: _ones(steps[0].before.streams[name]) for name in model.modalities}]
    for depth, (layer, step) in enumerate(zip(model.layers, steps, strict=True)):
        values.append(_shadow_step(depth, layer, step, values[-1]))
    read = _readout(model.head, steps[-1].after, values[-1])
    inputs = [value for streams in values for value in streams.values()]
    gradients = iter(torch.autograd.grad(read.sum(), inputs, allow_unused=True, materialize_grads=True))
    depths = tuple({name: next(gradients) for name in streams} for streams in values)
    relevance = {name: depths[0][name][:, 1:] for name in model.modalities}
    learned = 1 - torch.cat(list(relevance.values()), 1).sum(1)
    return Rollout(relevance, learned, depths, notes)


@torch.no_grad()
def _true_pass(model: FusionModel, tokens: dict[str, Tokens]) -> list[_Step]:
    state = model.embed(tokens)
    steps = []
    for layer in model.layers:
        with recorded(layer) as recording:
            after = layer(state)
        steps.append(_Step(state, after, recording))
        state = after
    return steps


def _without_max(layers: nn.Module) -> tuple[str, ...]:
    """Replaces max pooling by average pooling: the token with the largest value differs by channel."""
    pools = [module for module in layers.modules() if getattr(module, "pool", None) == "max"]
    for module in pools:
        module.pool = "avg"  # pyright: ignore[reportArgumentType]
    return (MEAN_OF_MAX,) if pools else ()


def _shadow_step(depth: int, layer: nn.Module, step: _Step, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The numbers after a layer, (B, N) per stream; each is 1, the sum of its parts of the numbers before."""
    after = _through(layer, step, values)
    with torch.no_grad():
        # Positions or learned tokens that a layer adds are a constant, no part of any token.
        constant = _through(layer, step, {})
        _check_linear(depth, layer, step, values, constant)
    normalised = {}
    for name, number in after.items():
        if name in step.before.streams and name not in values:
            continue  # positions
        part = number - constant[name]
        total = part.detach()
        # A token with nothing of the clip is learned, as a bottleneck before its first update: it starts anew, as CLS.
        learned = total.abs() < NOTHING
        value = torch.where(learned, 1.0, part / total.masked_fill(learned, 1.0))
        normalised[name] = value.requires_grad_()
    return normalised


def _through(layer: nn.Module, step: _Step, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The layer's shadow: numbers before to numbers after, (B, N) per stream."""
    with shadowed(layer, step.recording):
        after: State = layer(filled(step.before, values))
    return {name: stream.x.mean(-1) for name, stream in after.streams.items()}


def _check_linear(
    depth: int, layer: nn.Module, step: _Step, values: dict[str, Tensor], constant: dict[str, Tensor]
) -> None:
    """Raises ValueError if the shadow is not linear, because the layer weighs tokens by their own values."""
    generator = torch.Generator().manual_seed(0)
    some = {n: torch.rand(v.shape, generator=generator, dtype=v.dtype).to(v.device) for n, v in values.items()}
    once, twice = (_through(layer, step, {name: k * value for name, value in some.items()}) for k in (1, 2))
    for name, start in constant.items():
        if not torch.allclose(twice[name] - start, 2 * (once[name] - start), rtol=LINEAR, atol=LINEAR):
            raise ValueError(
                f"attention rollout cannot trace layers.{depth} ({type(layer).__name__}): its stream {name!r} "
                "weighs tokens by their own values; expected attention made of sparsefuse.layers.block.Attention or "
                "CrossAttention"
            )


def _readout(head: nn.Module, state: State, values: dict[str, Tensor]) -> Tensor:
    """(B,) the mean of the CLS tokens that the head reads, of the streams that a sample has."""
    names = getattr(head, "streams", None) or getattr(head, "modalities", None)
    if names is None:
        raise ValueError(
            f"attention rollout cannot tell what {type(head).__name__} reads; expected a head with `streams`, the "
            "names of the streams whose CLS it reads"
        )
    there = torch.cat([presence(state.streams[name])[:, 0] for name in names], 1)  # (B, M)
    cls = torch.stack([values[name][:, 0] for name in names], 1)
    return (cls * there).sum(1) / there.sum(1).clamp_min(1)


def _ones(stream: Tokens) -> Tensor:
    """(B, N) ones that require a gradient."""
    return torch.ones(stream.mask.shape, dtype=stream.x.dtype, device=stream.x.device, requires_grad=True)
