"""What is watching: an exported model must hold for every length, an eager or compiled one for the length at hand."""

import torch
from torch import Tensor


def exporting() -> bool:
    """Whether torch.export traces this call. Before torch 2.7 nothing tells it from torch.compile."""
    return getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()


def full(mask: Tensor) -> bool:
    """Whether every token under `mask` is known to be real, so that masking can be skipped.

    Only where the answer is at hand: a GPU would have to be waited for, and a traced model must hold for any mask.
    """
    known = mask.device.type == "cpu" and mask.dtype == torch.bool and not torch.compiler.is_compiling()
    return known and bool(mask.all())


def eager(x: Tensor) -> bool:
    """Whether a processor works on numbers at hand, in full precision: nothing is traced or cast behind our back."""
    plain = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    return plain and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")
