"""The search space of a method on pixels: its options and the size of its encoders in, options out.

    size.width              the width of all stages, in eighths of the configured one: 1 to 16
    size.depth1, 2 ...      blocks of a stage: 1 up to the configured number
    num_*                   1 up to twice the configured number
    modalities              if asked for: all streams, each alone, all but one

All other options stay as configured: heads and patches, for instance, and what is shared.
"""

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sparsefuse.budget.space import READ, Choice, Point, Range, subsets_of, toward_cheap
from sparsefuse.experiments.variants import Subsets
from sparsefuse.layers.pixels.sizes import Size, size_of
from sparsefuse.methods.pixels import find

WIDTH, DEPTH = "size.width", "size.depth"
EIGHTHS = 8


class PixelSpace(NamedTuple):
    """As `Space`, of a method on pixels."""

    axes: dict[str, Range | Choice]
    fixed: Mapping[str, Any]
    """configured options that are not searched"""
    size: Size
    """as configured"""
    steps: tuple[int, ...]
    """of which the width of each stage is a multiple"""

    def options(self, point: Point) -> dict[str, Any]:
        """The options of `build` at a point."""
        share = point[WIDTH] / EIGHTHS
        dims = [max(round(dim * share / step), 1) * step for dim, step in zip(self.size.dims, self.steps, strict=True)]
        depths = [point.get(f"{DEPTH}{stage}", depth) for stage, depth in enumerate(self.size.depths, 1)]
        size = self.size._replace(dims=tuple(dims), depths=tuple(depths))
        others = {axis: value for axis, value in point.items() if not axis.startswith("size.")}
        if READ in others:
            others[READ] = json.loads(others[READ])
        return {**self.fixed, **others, "size": json.loads(json.dumps(size._asdict()))}

    def toward_cheap(self, t: float, patterns: Point) -> Point:
        """As `Space.toward_cheap`."""
        return toward_cheap(self.axes, t, patterns)


def pixel_space_of(
    method: str, configured: Mapping[str, Any], task: str, streams: Sequence[str], subsets: Sequence[Subsets] = ()
) -> PixelSpace:
    """The space of a method. `configured`: its options in the configuration; `subsets`: which of `streams` may be read
    beside all that are configured."""
    parameters = inspect.signature(find(method).build, eval_str=True).parameters
    start = {name: configured.get(name, p.default) for name, p in parameters.items()}
    size = size_of(task, start["size"])  # pyright: ignore[reportArgumentType]
    axes: dict[str, Range | Choice] = {WIDTH: Range(1, 2 * EIGHTHS, EIGHTHS, 1)}
    axes |= {f"{DEPTH}{i}": Range(1, depth, depth, 1) for i, depth in enumerate(size.depths, 1) if depth > 1}
    for name, value in start.items():
        if name.startswith("num_") and isinstance(value, int) and name != "num_classes":
            axes[name] = Range(1, 2 * value, value, 1)
    read = subsets_of(configured.get(READ) or streams, subsets)
    if method != "unimodal" and len(read) > 1:  # that reads one, which is another option
        axes[READ] = Choice(read, read[0])
    fixed = {name: value for name, value in configured.items() if name not in axes and name != "size"}
    shuffled = 4 if task == "translate" else 1  # its decoder makes four pixels of one
    return PixelSpace(axes, fixed, size, tuple(math.lcm(heads, shuffled) for heads in size.num_heads))
