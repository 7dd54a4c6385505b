"""A fusion model on pixels: pictures per stream, a flat list of layers, a head.

Its loop is not `FusionModel`'s, which blends samples between layers and fuses the operations of token streams: neither
exists for fields.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from sparsefuse.errors import unknown
from sparsefuse.layers.pixels.head import PixelHead
from sparsefuse.layers.streams import zero_penalty
from sparsefuse.tokens import Field, PixelHeadOutputs, PixelOutput, PixelState

Probe = Callable[[int, PixelState], None]


class PixelModel(nn.Module):
    """Maps named pictures of one size to logits per pixel. `streams` are all that it accepts, with their channels;
    `reads` those it reads."""

    def __init__(self, streams: Mapping[str, int], reads: Iterable[str], layers: Iterable[nn.Module], head: PixelHead):
        super().__init__()
        self.streams = {name: streams[name] for name in sorted(streams)}
        self.reads = tuple(reads)
        self.layers = nn.ModuleList(layers)
        self.head = head

    def forward(self, fields: Mapping[str, Field | Tensor], probe: Probe | None = None) -> PixelOutput:
        """Pictures per stream (any subset, in any order) -> logits (B, H, W, C), penalty () and the last state. A plain
        tensor (B, H, W, F) is a picture that is all real.

        `probe` is called before the first layer, at depth 0, and after layer i, at depth i. Raises ValueError for
        unknown streams, wrong types, shapes or channels, sizes that differ, or none at all.
        """
        state, size = self.encode(fields, probe)
        return PixelOutput(self.head(state, *size), state.penalty, state)

    def training_outputs(self, fields: Mapping[str, Field | Tensor]) -> tuple[PixelHeadOutputs, PixelState]:
        """The predictions that training takes the loss of, and the last state, with the penalty; see `forward`."""
        state, size = self.encode(fields)
        return self.head.outputs(state, *size), state

    def encode(
        self, fields: Mapping[str, Field | Tensor], probe: Probe | None = None
    ) -> tuple[PixelState, tuple[int, int]]:
        """The state after the last layer, the head's input, and the pictures' rows and columns."""
        whole = _with_masks(fields)
        self._check(whole)
        some = next(iter(whole.values()))
        streams = {}
        for name in self.reads:
            if name in whole:
                streams[name] = whole[name]
            else:
                x = some.x.new_zeros(*some.x.shape[:3], self.streams[name])
                streams[name] = Field(x, torch.zeros_like(some.mask))
        state = PixelState(streams, zero_penalty(some.x), {}, {}, {})
        for depth, layer in enumerate(self.layers):
            if probe is not None:
                probe(depth, state)
            state = layer(state)
        if probe is not None:
            probe(len(self.layers), state)
        return state, (some.x.shape[1], some.x.shape[2])

    def _check(self, fields: dict[str, Field]) -> None:
        if not set(fields) & set(self.reads):
            raise ValueError(f"needs at least one of {', '.join(self.reads)}; got {', '.join(fields) or 'none'}")
        for name, (x, mask) in fields.items():
            if name not in self.streams:
                raise ValueError(unknown("stream", name, self.streams))
            if torch.compiler.is_compiling():  # its sizes are no numbers
                continue
            channels = self.streams[name]
            if x.ndim != 4 or x.shape[3] != channels or not x.is_floating_point():
                raise ValueError(f"stream {name!r} must be (B, H, W, {channels}) float; got {tuple(x.shape)} {x.dtype}")
            if mask.dtype != torch.bool or mask.shape != x.shape[:3]:
                raise ValueError(
                    f"the mask of stream {name!r} must be {tuple(x.shape[:3])} torch.bool; got {tuple(mask.shape)} "
                    f"{mask.dtype}"
                )
        if not torch.compiler.is_compiling() and len({x.shape[:3] for x, _ in fields.values()}) > 1:
            sizes = ", ".join(f"{name} {tuple(x.shape[:3])}" for name, (x, _) in fields.items())
            raise ValueError(f"streams must have pictures of one size, and as many; got {sizes}")


def _with_masks(fields: Mapping[str, Field | Tensor]) -> dict[str, Field]:
    return {
        name: Field(x, torch.ones(x.shape[:3], dtype=torch.bool, device=x.device)) if isinstance(x, Tensor) else x
        for name, x in fields.items()
    }
