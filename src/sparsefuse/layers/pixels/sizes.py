"""The sizes of encoders on pixels, by task and name."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from sparsefuse.errors import unknown
from sparsefuse.layers.options import check_choice
from sparsefuse.options import check_kind

Task = Literal["segment", "translate"]
MOST_DEPTH = 1000
"""blocks of a stage: their list must not fill the memory, whatever a file says"""


class Size(NamedTuple):
    """One entry per stage."""

    dims: tuple[int, ...]
    depths: tuple[int, ...]
    """blocks"""
    num_heads: tuple[int, ...]
    reductions: tuple[int, ...]
    """tokens per key, along each side"""
    patches: tuple[tuple[int, int], ...] = ((7, 4), (3, 2), (3, 2), (3, 2))
    """kernel and stride"""
    head_dim: int = 256
    """width of the all-MLP head"""


FIVE = ((3, 2),) * 5
SIZES: dict[Task, dict[str, Size]] = {
    "segment": {
        "tiny": Size((32, 64, 96), (2, 2, 2), (1, 2, 4), (4, 2, 1), ((7, 4), (3, 2), (3, 2)), head_dim=64),
        "b0": Size((32, 64, 160, 256), (2, 2, 2, 2), (1, 2, 5, 8), (8, 4, 2, 1)),
        "b2": Size((64, 128, 320, 512), (3, 4, 6, 3), (1, 2, 5, 8), (8, 4, 2, 1)),
        "b3": Size((64, 128, 320, 512), (3, 4, 18, 3), (1, 2, 5, 8), (8, 4, 2, 1)),
    },
    "translate": {
        "tiny": Size((16, 32, 64, 96), (1, 1, 2, 2), (1, 2, 4, 4), (8, 4, 2, 1), FIVE[:4]),
        "b0": Size((32, 64, 128, 256, 512), (2, 2, 2, 2, 2), (1, 2, 4, 8, 16), (16, 8, 4, 2, 1), FIVE),
        "b2": Size((64, 128, 256, 512, 1024), (3, 4, 4, 6, 3), (1, 2, 4, 8, 16), (16, 8, 4, 2, 1), FIVE),
    },
}
"""b0 to b3 as published (SegFormer table 6; TokenFusion's supplement B and released code); tiny, ours, is for small
pictures."""


def size_of(task: Task, size: str | Size | Mapping[str, Any]) -> Size:
    """By name, or with the fields of a `Size`. Raises ValueError for unknown ones, and stages that do not agree."""
    check_choice("task", task, Task)
    if isinstance(size, str):
        if size not in SIZES[task]:
            raise ValueError(unknown(f"size of {task}", size, SIZES[task]))
        return SIZES[task][size]
    if isinstance(size, Mapping):
        for name in size:
            if name not in Size._fields:
                raise ValueError(unknown("field of size", name, Size._fields))
        if lacking := [name for name in Size._fields if name not in size and name not in Size._field_defaults]:
            raise ValueError(f"size lacks {', '.join(lacking)}; got {dict(size)}")
        for name, value in size.items():
            check_kind(Size.__annotations__[name], value, f"size.{name}")
        fields: dict[str, Any] = {name: _tuples(value) for name, value in size.items()}
        size = Size(**fields)
    stages = {len(part) for part in size[:5]}
    if len(stages) > 1:
        raise ValueError(f"size: dims, depths, num_heads, reductions and patches have an entry per stage; got {size}")
    for depth in size.depths:
        if not 1 <= depth <= MOST_DEPTH:
            raise ValueError(f"size: a depth is {depth}; expected 1 to {MOST_DEPTH}")
    return size


def _tuples(value: Any) -> Any:
    """Lists of a file as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
