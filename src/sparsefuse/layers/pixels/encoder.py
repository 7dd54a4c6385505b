"""SegFormer's encoder over several streams: a flat list of layers, stage after stage, that ends with a pyramid."""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, cast

from torch import nn

from sparsefuse.layers.pixels.block import MixBlock, Norms
from sparsefuse.layers.pixels.patches import OverlapPatches
from sparsefuse.layers.pixels.sizes import Size
from sparsefuse.layers.pixels.weights import norm
from sparsefuse.tokens import Field, PixelState

Shared = Literal["none", "all", "all_but_norm"]


class Stage(NamedTuple):
    """What a stage's layers are made from."""

    number: int
    """from 1"""
    dim: int
    num_heads: int
    reduction: int
    drop_paths: tuple[float, ...]
    """one per block"""


def encoder(
    streams: Mapping[str, int],
    size: Size,
    make: Callable[[Stage], list[nn.Module]],
    *,
    drop_path: float,
    shared: Shared = "none",
) -> list[nn.Module]:
    """The layers for `streams` with their channels; `make` arranges the blocks of a stage."""
    layers: list[nn.Module] = []
    inputs = dict(streams)
    first = 0
    for i, dim in enumerate(size.dims):
        rates = [drop_path * j / max(sum(size.depths) - 1, 1) for j in range(first, first + size.depths[i])]
        stage = Stage(i + 1, dim, size.num_heads[i], size.reductions[i], tuple(rates))
        layers += [Patches(inputs, dim, *size.patches[i], shared), *make(stage), Finish(tuple(streams), stage, shared)]
        inputs, first = dict.fromkeys(streams, dim), first + size.depths[i]
    return layers


def alone(names: Iterable[str], shared: Shared = "none") -> Callable[[Stage], list[nn.Module]]:
    """Makes stages in which no stream reads another."""
    return lambda stage: [Mix(tuple(names), stage, rate, shared) for rate in stage.drop_paths]


class Patches(nn.Module):
    """Cuts every stream into patches; `shared` streams of as many channels share the convolution."""

    def __init__(self, inputs: Mapping[str, int], dim: int, kernel: int, stride: int, shared: Shared):
        super().__init__()
        self.names = tuple(inputs)
        one = shared != "none" and len(set(inputs.values())) == 1
        channels = list(inputs.values())[: 1 if one else None]
        self.patches = nn.ModuleList(OverlapPatches(dim_in, dim, kernel, stride) for dim_in in channels)
        self.norms = nn.ModuleList(norm(dim) for _ in apart(self.names, shared))

    def forward(self, state: PixelState) -> PixelState:
        streams = dict(state.streams)
        for i, name in enumerate(self.names):
            x, mask = of(self.patches, i)(streams[name])
            streams[name] = Field(of(self.norms, i)(x), mask)
        return state._replace(streams=streams)


class Part(NamedTuple):
    """A stream's part of a layer."""

    name: str
    block: MixBlock
    norms: Norms


class Mix(nn.Module):
    """A block per stream, or one whose weights they share."""

    def __init__(self, names: tuple[str, ...], stage: Stage, drop_path: float, shared: Shared = "none"):
        super().__init__()
        self.names = names
        self.blocks = nn.ModuleList(
            MixBlock(stage.dim, stage.num_heads, stage.reduction, drop_path=drop_path)
            for _ in names[: None if shared == "none" else 1]
        )
        self.norms = nn.ModuleList(Norms(stage.dim, stage.reduction) for _ in apart(names, shared))

    def forward(self, state: PixelState) -> PixelState:
        changed = {name: block(state.streams[name], norms) for name, block, norms in self.parts()}
        return state._replace(streams={**state.streams, **changed})

    def parts(self) -> list[Part]:
        """What each stream passes."""
        parts = [(name, of(self.blocks, i), of(self.norms, i)) for i, name in enumerate(self.names)]
        return [Part(name, cast(MixBlock, block), cast(Norms, norms)) for name, block, norms in parts]


class Finish(nn.Module):
    """Normalises the streams at the end of a stage and keeps them as `name@1`, `name@2` ..."""

    def __init__(self, names: tuple[str, ...], stage: Stage, shared: Shared):
        super().__init__()
        self.names, self.number = names, stage.number
        self.norms = nn.ModuleList(norm(stage.dim) for _ in apart(names, shared))

    def forward(self, state: PixelState) -> PixelState:
        streams = dict(state.streams)
        for i, name in enumerate(self.names):
            x, mask = streams[name]
            streams[name] = streams[at(name, self.number)] = Field(of(self.norms, i)(x), mask)
        return state._replace(streams=streams)


def at(name: str, stage: int) -> str:
    """The name of what a stream's stage ended with."""
    return f"{name}@{stage}"


def apart(names: tuple[str, ...], shared: Shared) -> tuple[str, ...]:
    """The streams with norms of their own."""
    return names[: 1 if shared == "all" else None]


def of(parts: nn.ModuleList, i: int) -> nn.Module:
    """The part of stream `i`; a single part is shared by all."""
    return parts[i % len(parts)]
