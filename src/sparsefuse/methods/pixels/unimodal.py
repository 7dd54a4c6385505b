"""One stream alone, on pixels: SegFormer (Xie et al. 2021). The baseline that every fusion must beat.

the stream:  patches -> blocks -> patches -> blocks -> patches -> blocks -> patches -> blocks  -> head
                        |                    |                    |                    |           |
                        `--------------------`--------------------`--------------------`-----------'
"""

from collections.abc import Mapping
from typing import Any

from sparsefuse.errors import unknown
from sparsefuse.layers.pixels.encoder import alone, encoder
from sparsefuse.layers.pixels.head import PixelHead
from sparsefuse.layers.pixels.sizes import Size, Task, size_of
from sparsefuse.model.pixels import PixelModel

TEST: dict[str, Any] = {}


def build(
    streams: Mapping[str, int],
    num_classes: int,
    *,
    task: Task = "segment",
    size: str | Size | Mapping[str, Any] = "b0",
    drop_path: float = 0.1,
    stream: str | None = None,
) -> PixelModel:
    """`stream`: the one to read; the first by name if None."""
    if stream is not None and stream not in streams:
        raise ValueError(unknown("stream", stream, streams))
    name = min(streams) if stream is None else stream
    whole, own = size_of(task, size), {name: streams[name]}
    layers = encoder(own, whole, alone(own), drop_path=drop_path)
    return PixelModel(streams, own, layers, PixelHead((name,), task, whole, num_classes))
