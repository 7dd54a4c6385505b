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
"""Most readings that are left as they are."""
WINDOW = 0.6
"""Seconds that a token of readings sees; the next one begins half of that later."""
_FILTERS, _DEPTH, _STRIDE = 16, 2, 2  # of pictures; but for the filters the stem's own


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
    planes, height, width, channels = _picture(made)
    if height and planes * height * width * channels == features:
        stem = {"kind": "conv", "height": height, "filters": _FILTERS}
        stem |= {key: n for key, n in (("width", width), ("channels", channels), ("planes", planes)) if n > 1}
        kept = tokens if width > 1 else math.ceil(tokens / _STRIDE**_DEPTH)
        return Proposal(
            stem, kept, "neighbouring pixels are related" if width > 1 else "neighbouring bins and moments are related"
        )
    if features > NARROW:
        return Proposal({}, tokens, f"a token of {features} features needs none")
    if tokens <= LONG:
        return Proposal({}, tokens, f"{tokens} tokens are few, so it needs none")
    rate = _rate(made)
    hop = max(2, round(WINDOW / 2 * rate if rate else tokens / LONG))
    seen = f"{2 * hop / rate:.2g} s" if rate else f"{2 * hop} tokens"
    stem = {"kind": "patch", "tokens": 2 * hop, "hop": hop}
    return Proposal(
        stem, math.ceil(tokens / hop), f"{tokens} tokens of {features} features are long: windows of {seen}"
    )


def _picture(made: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Planes, height, width and channels of a token, or a spectrogram's planes and bins; 0 high if it is no picture."""
    match made:
        case {"extractor": "frames", "size": [int(height), int(width)], "patch": None}:
            return 1 + bool(made.get("difference")), height, width, 1 if made.get("gray") else 3
        case {"extractor": "spectrogram", "bins": int(bins), "context": int(context)}:
            return (2 * context + 1) * (1 + bool(made.get("difference"))), bins, 1, 1
    return 0, 0, 0, 0


def _rate(made: Mapping[str, Any]) -> float | None:
    """Tokens a second of readings, if they are no windows already."""
    if made.get("window") is not None:
        return None
    rate = made.get("rate") or made.get("file_rate")
    return rate if isinstance(rate, int | float) and 0 < rate < math.inf else None
