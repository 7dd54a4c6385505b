"""The search space of a method: the signature of its `build` and the clips' lengths in, options out.

The names and types of its arguments define the space, so a method in a user's file is searched too if it follows the
same conventions:

    dim and num_heads       the width, in heads of the configured size
    *_depth, num_*          1 up to the configured number (num_*: up to twice that)
    keep, else stride       tokens kept, per modality if `build` takes a dict; 1 up to the length of a clip
    Literal of patterns     dense, strided, local, ...: every choice it lists
    modalities              if asked for: all of them, each alone, all but one

All other options stay as configured.
"""

import inspect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

from sparsefuse.experiments.variants import Subsets
from sparsefuse.layers.ops import PATTERNS
from sparsefuse.methods import find

READ = "modalities"
"""the option, and the axis, of what a model reads"""
KEPT = 16
"""tokens that a method keeps if neither the configuration nor its default sets it (SFT's number)"""


class Range(NamedTuple):
    """Whole numbers, searched by their logarithm."""

    low: int
    high: int
    start: int
    """as configured"""
    cheap: int
    """the end at which the model costs less"""

    def toward_cheap(self, t: float) -> int:
        """`start` at t = 0, `cheap` at t = 1, geometrically between."""
        return round(math.exp((1 - t) * math.log(self.start) + t * math.log(self.cheap)))


class Choice(NamedTuple):
    """Attention patterns; or lists of modalities, as JSON."""

    values: tuple[str, ...]
    start: str


Point = dict[str, Any]
"""A place in a space: a value per axis."""


class Space(NamedTuple):
    """The options of one method that a search may change, by axis: `fusion_depth`, `keep.rgb`."""

    axes: dict[str, Range | Choice]
    fixed: Mapping[str, Any]
    """configured options that are not searched"""
    head_size: int
    """width of an attention head; 0 if `dim` is not tied to `num_heads`"""

    def options(self, point: Point) -> dict[str, Any]:
        """The options of `build` at a point."""
        options = dict(self.fixed)
        for axis, value in point.items():
            if axis == READ:
                options[READ] = json.loads(value)
                continue
            option, _, modality = axis.partition(".")
            options[option] = {**options.get(option, {}), modality: value} if modality else value
        if self.head_size:
            options["dim"] = options["num_heads"] * self.head_size
        return options

    def toward_cheap(self, t: float, patterns: Point) -> Point:
        """The configured point at t = 0, the cheapest at t = 1; patterns change to `patterns` half way."""
        return toward_cheap(self.axes, t, patterns)


def toward_cheap(axes: Mapping[str, Range | Choice], t: float, patterns: Point) -> Point:
    """See `Space.toward_cheap`."""
    return {
        name: axis.toward_cheap(t) if isinstance(axis, Range) else (axis.start if t < 0.5 else patterns[name])
        for name, axis in axes.items()
    }


def space_of(
    method: str, configured: Mapping[str, Any], lengths: dict[str, int], subsets: Sequence[Subsets] = ()
) -> Space:
    """The space of a method. `configured`: its options in the configuration; `lengths`: tokens of a clip; `subsets`:
    which modalities may be read beside all that are configured."""
    parameters = inspect.signature(find(method).build, eval_str=True).parameters
    start = {name: configured.get(name, p.default) for name, p in parameters.items()}
    tied = isinstance(start.get("dim"), int) and isinstance(start.get("num_heads"), int)
    by_stride = configured.get("stride") is not None and configured.get("keep") is None
    tokens = "keep" if "keep" in parameters and not by_stride else "stride"
    axes = dict(_axes({name: p.annotation for name, p in parameters.items()}, start, lengths, tokens, tied))
    read = subsets_of(configured.get(READ) or list(lengths), subsets)
    if method != "unimodal" and len(read) > 1:  # that reads one, which is another option
        axes[READ] = Choice(read, read[0])
    searched = {axis.partition(".")[0] for axis in axes} | ({"dim"} if tied else set())
    fixed = {name: value for name, value in configured.items() if name not in searched}
    return Space(axes, fixed, start["dim"] // start["num_heads"] if tied else 0)


def subsets_of(names: Sequence[str], subsets: Sequence[Subsets]) -> tuple[str, ...]:
    """All modalities, and those lists of them that are asked for, as JSON; each once."""
    lists = [list(names)]
    if "each" in subsets:
        lists += [[name] for name in names]
    if "leave-one-out" in subsets and len(names) > 1:
        lists += [[other for other in names if other != name] for name in names]
    return tuple(dict.fromkeys(map(json.dumps, lists)))


def _axes(
    kinds: dict[str, Any], start: dict[str, Any], lengths: dict[str, int], tokens: str, tied: bool
) -> Iterator[tuple[str, Range | Choice]]:
    """The axes of a signature: the type and the configured value of every argument in."""
    for name, kind in kinds.items():
        value = start[name]
        if name == tokens:
            yield from _token_axes(name, kind, value, lengths)
        elif get_origin(kind) is Literal and len(set(PATTERNS) & set(get_args(kind))) > 1:
            yield name, Choice(get_args(kind), value)
        elif not isinstance(value, int) or isinstance(value, bool) or value < 1:
            continue
        elif name.endswith("_depth"):
            yield name, Range(1, value, value, 1)
        elif name.startswith("num_") or (name == "dim" and not tied):
            yield name, Range(1, 2 * value, value, 1)


def _token_axes(name: str, kind: Any, value: Any, lengths: dict[str, int]) -> Iterator[tuple[str, Range]]:
    """One axis per modality if the option takes a dict, else one for all."""
    apart = any(get_origin(part) is dict for part in (kind, *get_args(kind)))
    for modality, length in lengths.items() if apart else [("", sum(lengths.values()))]:
        start = value[modality] if isinstance(value, dict) else value
        start = min(start or (KEPT if name == "keep" else 1), length)
        axis = f"{name}.{modality}" if apart else name
        yield axis, Range(1, length, start, 1 if name == "keep" else length)
