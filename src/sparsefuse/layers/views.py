"""Views: what each attention head attends to (LoCoMT, Park and Choi 2024). A layer has a number of heads per view.

  self      every modality attends to itself
  a+b       a attends to b and b to a; tokens of any other modality get zeros from such a head

Score products of a head, by the lengths L (CLS counted): self = sum of L_m^2, a+b = 2 L_a L_b. No pair costs more than
self, for (L_a - L_b)^2 >= 0; so no mixture of views does (the paper's guarantee).
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from sparsefuse.errors import unknown
from sparsefuse.layers import ops
from sparsefuse.layers.block import Attention, Mlp, Norm
from sparsefuse.layers.heads import heads
from sparsefuse.layers.streams import presence
from sparsefuse.tokens import State, Tokens

Strategy = Literal["low_self_high_cross", "spread", "bottleneck", "alternating", "random"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Frequencies = dict[str, int]
"""view -> heads; a layer's views in the order of `views_of`"""


def views_of(modalities: Sequence[str]) -> tuple[str, ...]:
    """All views of sorted modalities: self, and one per pair."""
    return ("self", *(f"{a}+{b}" for a, b in itertools.combinations(sorted(modalities), 2)))


def score_products(view: str, lengths: Mapping[str, Any]) -> Any:
    """Products of a query with a key that one head of this view computes, for lengths L per modality, CLS counted.

    Lengths are numbers, or tensors of them; so is the result.
    """
    if view == "self":
        return sum(length**2 for length in lengths.values())
    a, b = _pair(view, lengths)
    return 2 * lengths[a] * lengths[b]


def by_strategy(
    strategy: Strategy, cross: float, *, modalities: Sequence[str], num_heads: int, depth: int, seed: int = 0
) -> list[Frequencies]:
    """Views of `depth` layers of which the share `cross` of all heads, rounded, is given to pairs.

    A strategy is the order in which heads are taken from self; those a layer gives up go to the pairs in turn.
    """
    pairs = views_of(modalities)[1:]
    taken = _ORDERS[strategy](depth, num_heads, seed)[: round(cross * depth * num_heads) if pairs else 0]
    next_pair = itertools.cycle(pairs or ("",))
    layers = []
    for layer in range(depth):
        crossing = [next(next_pair) for _ in range(taken.count(layer))]
        counts = {"self": num_heads - len(crossing)} | {pair: crossing.count(pair) for pair in pairs}
        layers.append({view: count for view, count in counts.items() if count})
    return layers


def _random(depth: int, num_heads: int, seed: int) -> list[int]:
    order = torch.randperm(depth * num_heads, generator=torch.Generator().manual_seed(seed))
    return [int(i) // num_heads for i in order]


def _layers(key: Callable[[int, int], float]) -> Callable[[int, int, int], list[int]]:
    """Whole layers, by ascending `key(layer, depth)`; of equals the upper one first."""
    return lambda depth, num_heads, _: [
        layer for layer in sorted(range(depth), key=lambda at: (key(at, depth), -at)) for _ in range(num_heads)
    ]


_ORDERS: dict[Strategy, Callable[[int, int, int], list[int]]] = {
    "low_self_high_cross": _layers(lambda layer, depth: -layer),
    "spread": lambda depth, num_heads, _: [layer for _ in range(num_heads) for layer in reversed(range(depth))],
    "bottleneck": _layers(lambda layer, depth: abs(layer - (depth - 1) / 2)),
    "alternating": _layers(lambda layer, depth: (layer + 1) % 2),
    "random": _random,
}
"""(layers, heads of each, seed) -> the layer of every head, in the order in which heads are taken from self."""


def check_views(views: Mapping[str, int], modalities: Sequence[str], num_heads: int) -> Frequencies:
    """A layer's views with their names in order. Raises ValueError unless they are available and sum to the heads."""
    available = views_of(modalities)
    named: Frequencies = {}
    for view, count in views.items():
        name = "+".join(sorted(view.split("+"))) if view not in available else view
        if name not in available:
            if len(available) == 1:
                raise ValueError(f"view {view!r} needs two modalities; the only one is {modalities[0]!r}: use 'self'")
            raise ValueError(unknown("view", view, available))
        if count != int(count) or count < 0:
            raise ValueError(f"view {view!r} must have 0 heads or more, a whole number; got {count}")
        named[name] = named.get(name, 0) + count
    if sum(named.values()) != num_heads:
        counts = ", ".join(f"{view}: {count}" for view, count in views.items()) or "none"
        raise ValueError(
            f"the heads of a layer's views must sum to num_heads={num_heads}; got {sum(named.values())} ({counts})"
        )
    return {view: named[view] for view in available if named.get(view)}


def _pair(view: str, modalities: Mapping[str, object]) -> tuple[str, str]:
    """The two modalities of a view; their names may hold a + of their own."""
    for a, b in itertools.combinations(sorted(modalities), 2):
        if f"{a}+{b}" == view:
            return a, b
    raise ValueError(unknown("view", view, views_of(tuple(modalities))))


class Projected(NamedTuple):
    """Streams and, by modality, their queries, keys and values (B, H, N, D/H)."""

    streams: dict[str, Tokens]
    q: dict[str, Tensor]
    k: dict[str, Tensor]
    v: dict[str, Tensor]

    def attend(self, view: str, name: str, some: slice) -> Tensor:
        """Attention of modality `name` in `some` heads of a view: (B, h, N, D/H); zeros if the view is of others."""
        query = self.q[name][:, some]
        pair = (name, name) if view == "self" else _pair(view, self.streams)
        if name not in pair:
            return torch.zeros_like(query)
        source = pair[1] if name == pair[0] else pair[0]
        tokens = self.streams[source]
        x = ops.attention(query, self.k[source][:, some], self.v[source][:, some], tokens.mask)
        return (
            x if view == "self" else x * presence(tokens)[..., None].to(x.dtype)
        )  # zeros where a sample lacks the source


class FixedViews(nn.Module):
    """Every head has one view."""

    def __init__(self, modalities: tuple[str, ...], views: Mapping[str, int], num_heads: int):
        super().__init__()
        self.views = check_views(views, modalities, num_heads)

    def forward(self, projected: Projected) -> dict[str, Tensor]:
        """(B, H, N, D/H) by modality."""
        outputs: dict[str, list[Tensor]] = {name: [] for name in projected.streams}
        first = 0
        for view, count in self.views.items():
            for name in projected.streams:
                outputs[name].append(projected.attend(view, name, slice(first, first + count)))
            first += count
        return {name: torch.cat(parts, 1) for name, parts in outputs.items()}

    def penalty(self, projected: Projected) -> Tensor | None:
        """None: the cost of these views is fixed."""


class LearnedViews(nn.Module):
    """Every head has a mixture of all views, learned with the weights and penalised by what it would cost.

    Costs more than any fixed views; `budget.views` makes those from what it learns.
    """

    def __init__(self, modalities: tuple[str, ...], num_heads: int, price: float):
        super().__init__()
        self.views, self.price = views_of(modalities), price
        self.preference = nn.Parameter(torch.zeros(num_heads, len(self.views)))

    def forward(self, projected: Projected) -> dict[str, Tensor]:
        """(B, H, N, D/H) by modality."""
        shares = self.preference.softmax(1)[:, :, None, None]  # (H, V, 1, 1)
        return {
            name: torch.stack(
                [projected.attend(v, name, slice(None)) * shares[:, i] for i, v in enumerate(self.views)]
            ).sum(0)
            for name in projected.streams
        }

    def penalty(self, projected: Projected) -> Tensor:
        """() the price times the expected score products, as a share of those where every head has the view self."""
        dtype = self.preference.dtype
        lengths = {name: tokens.mask.sum(1).to(dtype) for name, tokens in projected.streams.items()}  # (B,) with CLS
        products = torch.stack([score_products(view, lengths) for view in self.views])  # (V, B)
        shares = (products / products[:1].clamp_min(1)).mean(1)
        return self.price * (self.preference.softmax(1) @ shares).mean()


class ViewBlock(nn.Module):
    """One fusion layer: a block over all modalities at once, whose heads attend by their views.

    Attention runs per (query modality, key modality) with the heads that have it: no mask over the concatenation.
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        views: FixedViews | LearnedViews,
        *,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 1.0,
        drop: float = 0.0,
    ):
        super().__init__()
        self.modalities, self.views = modalities, views
        self.norm, self.attention = Norm(dim), Attention(dim, num_heads)
        self.mlp, self.drop = Mlp(dim, mlp_ratio, drop), nn.Dropout(drop)

    def forward(self, state: State) -> State:
        streams = {name: state.streams[name] for name in self.modalities}
        lengths = [tokens.x.shape[1] for tokens in streams.values()]
        x = torch.cat([tokens.x for tokens in streams.values()], 1)
        q, k, v = heads(self.attention.qkv(self.norm(x)), 3, self.attention.num_heads)  # (B, H, sum of N, D/H)
        projected = Projected(streams, *(dict(zip(streams, t.split(lengths, 2), strict=True)) for t in (q, k, v)))
        attended = self.views(projected)
        y = torch.cat([attended[name] for name in self.modalities], 2).transpose(1, 2).flatten(2)
        x = x + self.drop(self.attention.out(y))
        x = x + self.drop(self.mlp(x))
        new = {n: Tokens(part, streams[n].mask) for n, part in zip(streams, x.split(lengths, 1), strict=True)}
        penalty = self.views.penalty(projected)
        return State({**state.streams, **new}, state.penalty if penalty is None else state.penalty + penalty)
