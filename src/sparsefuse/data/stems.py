"""Which stem a raw stream needs: how long and wide its clips are, and what made them, in; options and tokens out."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

NARROW = 32
"""Most features of a token that is one reading of a sensor, and says little by itself."""
LONG = 64
"""Most tokens that are left as they are."""
WINDOW = 0.6
"""Seconds that a token of readings sees; the next one begins half of that later."""


class Proposal(NamedTuple):
    """What suits one modality."""

    stem: dict[str, Any]
    """its entry in the option `stem`; empty = none: each token is projected as it is"""
    tokens: int
    """of a clip of that length, after the stem"""
    why: str
    """one sentence"""


def stems_for(
    lengths: Mapping[str, float],
    features: Mapping[str, int],
    made_by: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, Proposal]:
    """A proposal for every modality of `lengths`, the tokens of a usual clip, and `features`, F.

    `made_by`: modality -> extractor and options, as in features.json, where that is known; it tells the rate.
    """
    return {name: _proposal(lengths[name], features[name], made_by.get(name, {})) for name in sorted(lengths)}


def _proposal(length: float, features: int, made: Mapping[str, Any]) -> Proposal:
    tokens = math.ceil(length)
    if tokens <= LONG:
        return Proposal({}, tokens, f"{tokens} tokens are few")
    if features > NARROW:
        return Proposal({}, tokens, f"a token of {features} features says enough by itself")
    rate = made.get("rate") or made.get("file_rate")
    hop = max(2, round(WINDOW / 2 * rate if rate else tokens / LONG))
    stem = {"kind": "patch", "tokens": 2 * hop, "hop": hop}
    seen = f"{2 * hop / rate:.2g} s" if rate else f"{2 * hop} readings"
    return Proposal(stem, math.ceil(tokens / hop), f"{tokens} readings of {features} features: windows of {seen}")
