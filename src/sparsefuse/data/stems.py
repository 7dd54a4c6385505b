"""Which stem a raw stream needs: how long and wide its clips are, and what made them, in; options and tokens out."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from sparsefuse.files.typed import parse

NARROW = 32
"""Most features of a token that is one reading of a sensor, and says little by itself."""
LONG = 64
"""Most readings that are not joined to windows."""
WINDOW = 0.6
"""Seconds that a token of readings sees; the next one begins half of that later."""
FEW = 16
"""Tokens; fewer are left as they are."""
MANY = 256
"""Most tokens of which convolutions make as many."""
WIDE = 256
"""Most features of a token of unknown origin that convolutions join: more may come from an encoder."""
FRAMES = ("frames", "flow", "spectrogram", "series")
"""Extractors whose tokens are moments."""
_FILTERS, _DEPTH = 64, 2


class Proposal(NamedTuple):
    """What suits one modality."""

    stem: dict[str, Any]
    """its entry in the option `stem`; empty = none: each token is projected as it is"""
    tokens: int
    """of a clip of that length, after the stem"""
    why: str
    """one phrase"""


def stems_for(
    lengths: Mapping[str, float],
    features: Mapping[str, int],
    made_by: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, Proposal]:
    """A proposal for every modality of `lengths`, the tokens of a usual clip, and `features`, F.

    `made_by`: modality -> extractor and options, as in features.json, where that is known; it tells the rate of
    readings and the size of pictures.
    """
    return {
        name: _proposal(math.ceil(lengths[name]), features[name], made_by.get(name, {})) for name in sorted(lengths)
    }


def made_by(folder: Path) -> dict[str, Mapping[str, Any]]:
    """What made the features of the manifest in a folder, of features.json beside it; empty without one.

    Raises ValueError if that file is none of `extract`.
    """
    path = folder / "features.json"
    if not path.is_file():
        return {}
    content = parse(path.read_bytes(), str(path))
    entries = content.get("features") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise ValueError(f"{path} has no features; expected the file that extract wrote")
    return {name: entry for name, entry in entries.items() if isinstance(entry, dict)}


def in_yaml(stem: Mapping[str, Any]) -> str:
    """On one line, as it stands in a configuration: `{kind: patch, tokens: 4}`."""
    return f"{{{', '.join(f'{key}: {value}' for key, value in stem.items())}}}"


def _proposal(tokens: int, features: int, made: Mapping[str, Any]) -> Proposal:
    extractor = made.get("extractor")
    if made.get("window") is not None and extractor == "series":
        return Proposal({}, tokens, "windows of readings need none")
    if made.get("patch") is not None:
        return Proposal({}, tokens, "its tokens are pieces of a frame")
    if features <= NARROW and tokens > LONG and extractor in (None, "series"):
        return _windows(tokens, features, _rate(made))
    if extractor not in (None, *FRAMES) or (extractor is None and features > WIDE):
        return Proposal({}, tokens, f"a token of {features} features needs none")
    if tokens < FEW:
        return Proposal({}, tokens, f"{tokens} tokens are few, so it needs none")
    stride = 1 if tokens <= MANY else 2
    stem = {"kind": "conv", "filters": _FILTERS, "stride": stride}
    return Proposal(stem, math.ceil(tokens / stride**_DEPTH), "neighbouring moments are related")


def _windows(tokens: int, features: int, rate: float | None) -> Proposal:
    hop = max(2, round(WINDOW / 2 * rate if rate else tokens / LONG))
    seen = f"{2 * hop / rate:.2g} s" if rate else f"{2 * hop} tokens"
    stem = {"kind": "patch", "tokens": 2 * hop, "hop": hop}
    return Proposal(
        stem, math.ceil(tokens / hop), f"{tokens} tokens of {features} features are long: windows of {seen}"
    )


def _rate(made: Mapping[str, Any]) -> float | None:
    """Tokens a second of readings."""
    rate = made.get("rate") or made.get("file_rate")
    return rate if isinstance(rate, int | float) and 0 < rate < math.inf else None
