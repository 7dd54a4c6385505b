"""Options that each modality may set for itself."""

import math
from typing import TypeVar

from sparsefuse.names import unknown

Option = TypeVar("Option", int, float, str)

RELEASED_SPAN = 32  # of the fixed pattern, and of any pattern when the clip length is not known


def span_for(name: str, lengths: dict[str, int] | None, pattern: str) -> int:
    """Block length of a sparse pattern: about the square root of the stream's length, as Child et al. 2019.

    For `local` a multiple of 16, which processors like; a stream of up to 64 tokens is one block, so it stays dense.
    """
    if pattern == "fixed" or lengths is None or name not in lengths:
        return RELEASED_SPAN
    root = math.sqrt(lengths[name])
    if pattern == "local":
        return 64 if lengths[name] <= 64 else max(16 * round(root / 16), 32)
    return max(round(root), 1)


def per_modality(
    option: str, value: Option | dict[str, Option] | None, modalities: tuple[str, ...]
) -> dict[str, Option | None]:
    """One value, or a dict of them, spelled out for every modality. Raises ValueError for a missing or unknown one."""
    if not isinstance(value, dict):
        return dict.fromkeys(modalities, _positive(option, value))
    for name in value:
        if name not in modalities:
            raise ValueError(f"{option}: {unknown('modality', name, modalities)}")
    for name in modalities:
        if name not in value:
            raise ValueError(f"{option} lacks modality {name!r}; got {value}")
    return {name: _positive(f"{option}[{name!r}]", value[name]) for name in modalities}


def _positive(option: str, value: Option | None) -> Option | None:
    if isinstance(value, int | float) and value < 1:
        raise ValueError(f"{option} must be at least 1; got {value}")
    return value
