"""What kernels are launched with: the dtype of their products, and tiles."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsefuse.layers.ops.triton import interpreted

_TRITON = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


class Dot(NamedTuple):
    """The dtype of products; sums are in float32."""

    dtype: torch.dtype
    precision: str
    """of float32: three products in tf32, or one where torch.set_float32_matmul_precision allows it"""

    def constants(self) -> dict[str, Any]:
        """As arguments of a kernel."""
        # The interpreter (3.9) takes the bits of bfloat16 for integers in products.
        dtype = torch.float32 if interpreted() and self.dtype is torch.bfloat16 else self.dtype
        return {"DOT": _TRITON[dtype], "PRECISION": self.precision}


def dot_of(x: Tensor) -> Dot:
    """That of a call with `x`: autocast's, or its own."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    return Dot(dtype, "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32")


def tile(count: int, most: int) -> int:
    """Rows or channels of a tile that holds `count` of them, or some: a power of two, at least what products need."""
    return max(16, min(most, triton.next_power_of_2(count)))


def launch(kernel: Any, grid: Sequence[int], *args: Any, **constants: Any) -> None:
    """Runs a kernel on the device of its first tensor."""
    x = args[0]
    if x.device.type != "cuda":  # its interpreter
        kernel[tuple(grid)](*args, **constants)
        return
    with torch.cuda.device(x.device):
        kernel[tuple(grid)](*args, **constants)


def programs(tiles: int, x: Tensor) -> int:
    """How many programs share tiles, each summing gradients of weights over its own: what the device runs at once."""
    many = torch.cuda.get_device_properties(x.device).multi_processor_count if x.device.type == "cuda" else 2
    return min(tiles, many)
