"""Who is watching: an exported model must hold for every length, an eager one only for the clips at hand."""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def exporting() -> bool:
    """Whether torch.export traces this call. Before torch 2.7 nothing tells it from torch.compile."""
    return getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()


def all_real(mask: Tensor) -> bool:
    """Whether every token under `mask` is known to be real, so that masking can be skipped.

    Only where the answer is at hand: a GPU would have to be waited for, and a traced model must hold for any mask.
    """
    return mask.device.type == "cpu" and mask.dtype == torch.bool and not watched(mask) and bool(mask.all())


def watched(x: Tensor) -> bool:
    """Whether something must see PyTorch's own operations on `x`, or cannot see others.

    That is torch.compile, export and jit tracing, autocast, dispatch modes, subclasses of tensors, torch.func, and
    forward-mode derivatives.
    """
    return (
        torch.compiler.is_compiling()
        or type(x) not in (Tensor, nn.Parameter)
        or (x.device.type != "meta" and torch.is_autocast_enabled(x.device.type))
        or dispatched()
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
    )


def dispatched() -> bool:
    """Whether a dispatch mode (a FLOP counter, fake tensors) or torch.func looks at every operation there is.

    Neither sees into PyTorch's attention kernels: counters pass over them, and they have no second derivative.
    """
    if torch.compiler.is_compiling():
        return False
    transforms = torch._C._functorch.peek_interpreter_stack()  # pyright: ignore[reportAttributeAccessIssue]
    return transforms is not None or torch._C._len_torch_dispatch_stack() > 0
