"""Options of methods: one of several words, or one value per modality."""

import math
from typing import Any, TypeVar, get_args

from sparsefuse.errors import unknown

Option = TypeVar("Option", int, float, str)

RELEASED_SPAN = 32  # of the fixed pattern, and of `strided` when the clip length is not known
LOCAL_SPAN = 16
MULTIPLE = 8
SHORT = 64  # tokens that `local` takes as one block


def span_for(name: str, lengths: dict[str, int] | None, pattern: str) -> int:
    """Block length of a sparse pattern: for `strided` about the square root of the stream's length (Child et al. 2019).

    There a multiple of 8, which kernels run faster. For `local` a short stream is one block, so it stays dense.
    """
    length = None if lengths is None else lengths.get(name)
    if pattern == "local":
        return SHORT if length is not None and length <= SHORT else LOCAL_SPAN
    if pattern == "fixed" or length is None:
        return RELEASED_SPAN
    root = round(math.sqrt(length))
    return max(root, 1) if root < MULTIPLE else MULTIPLE * round(root / MULTIPLE)


def check_choice(option: str, value: str, kind: Any) -> None:
    """Raises ValueError, naming the nearest, if `value` is not a member of the Literal `kind`."""
    if value not in get_args(kind):
        raise ValueError(unknown(option, value, get_args(kind)))


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
