"""What the features of a clip cost: how they were extracted, and tokens a clip, in; GMACs of packaged encoders out.

Other extractors are not counted: what they do (resizing, spectrograms, statistics) is no matrix product of a network,
and of models of `transformers` the structure is in their checkpoints, which training does not read.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from sparsefuse.cost.count import multiply_adds
from sparsefuse.features import _efficientnet, _sound_effects
from sparsefuse.features._packaged import PACKAGED

_MAPS = (_efficientnet.SIDE // 32) ** 2
"""Tokens of a picture, if each place of EfficientNet's last map is one."""
_PIECE = _sound_effects.FRAMES // 8
"""Tokens of a piece of sound: three poolings halve its frames."""
_LAYERS, _DIM, _HIDDEN, _LONGEST, _SPECIAL = 6, 384, 1536, 512, 2
"""Of MiniLM: six layers of BERT's, whose pieces have CLS and SEP, too."""


def encoders_gmacs(features: Mapping[str, Mapping[str, Any]], tokens: Mapping[str, int]) -> dict[str, float]:
    """Modality -> multiply-adds / 1e9 of a clip of so many extracted `tokens`, of those that packaged encoders made.

    `features`: modality -> extractor and options. A pooled text is left out: its tokens do not tell how long it is.
    """
    found = {}
    for name in sorted(tokens.keys() & features.keys()):
        spec = features[name]
        model = spec.get("model")
        if not isinstance(model, str) or model not in PACKAGED or spec["extractor"] not in ("encoder", "text"):
            continue
        count = _OF[PACKAGED[model].kind](spec, tokens[name])
        if count is not None:
            found[name] = count / 1e9
    return found


def _pictures(spec: Mapping[str, Any], tokens: int) -> int:
    return (math.ceil(tokens / _MAPS) if spec.get("output") == "token" else tokens) * _picture()


def _sounds(spec: Mapping[str, Any], tokens: int) -> int:
    """Of pieces shorter than the network's own, the rest is silence, which costs the same."""
    whole = _sound_effects.SoundFrontEnd.chunk_length
    each = math.ceil(_PIECE * min((spec.get("seconds") or whole) / whole, 1.0))
    return (tokens if spec.get("output") == "clip" else math.ceil(tokens / each)) * _piece()


def _texts(spec: Mapping[str, Any], tokens: int) -> int | None:
    if spec.get("output") == "clip":
        return None
    full, rest = divmod(tokens, _LONGEST - _SPECIAL)
    return full * _text(_LONGEST) + (_text(rest + _SPECIAL) if rest else 0)


_OF: dict[str, Callable[[Mapping[str, Any], int], int | None]] = {
    "vision": _pictures,
    "audio": _sounds,
    "text": _texts,
}


@lru_cache(maxsize=1)
def _picture() -> int:
    with torch.device("meta"):
        return _once(_efficientnet.EfficientNetLite0(), torch.empty(1, 3, _efficientnet.SIDE, _efficientnet.SIDE))


@lru_cache(maxsize=1)
def _piece() -> int:
    with torch.device("meta"):
        return _once(_sound_effects.SoundEffectsNet(), torch.empty(1, _sound_effects.FRAMES, 96))


def _once(net: nn.Module, x: torch.Tensor) -> int:
    return multiply_adds(lambda: net.eval()(x))


def _text(length: int) -> int:
    """Multiply-adds of a piece: projections, MLPs and attention; and of the pooler, which runs once and is not used."""
    products = length * (4 * _DIM**2 + 2 * _DIM * _HIDDEN) + 2 * length**2 * _DIM
    return _LAYERS * products + _DIM**2
