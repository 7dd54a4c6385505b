"""Whether a call is traced or intercepted: an exported model must be valid for every length."""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def exporting() -> bool:
    """Whether torch.export traces this call. Before torch 2.7 it cannot be distinguished from torch.compile."""
    return getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()


def all_real(mask: Tensor) -> bool:
    """Whether every token under `mask` is known to be real, so that masking can be skipped.

    False where finding out is costly or wrong: a GPU would synchronise, and a traced model must hold for any mask.
    """
    return mask.device.type == "cpu" and mask.dtype == torch.bool and not watched(mask) and bool(mask.all())


def watched(x: Tensor) -> bool:
    """Whether something intercepts PyTorch's operations on `x`, or changes their dtype."""
    return intercepted(x) or autocast(x)


def autocast(x: Tensor) -> bool:
    """Whether autocast is on for the device of `x`."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def intercepted(x: Tensor) -> bool:
    """Whether something intercepts PyTorch's operations on `x`, so that no other backend may compute them.

    That is torch.compile, export and jit tracing, dispatch modes, subclasses of tensors, torch.func, and forward-mode
    derivatives.
    """
    return (
        torch.compiler.is_compiling()
        or type(x) not in (Tensor, nn.Parameter)
        or dispatched()
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
    )


def dispatched() -> bool:
    """Whether a dispatch mode (a FLOP counter, fake tensors) or torch.func intercepts every operation.

    PyTorch's fused attention kernels are opaque to both: counters miss them, and they have no second derivative.
    """
    if torch.compiler.is_compiling():
        return False
    transforms = torch._C._functorch.peek_interpreter_stack()  # pyright: ignore[reportAttributeAccessIssue]
    return transforms is not None or torch._C._len_torch_dispatch_stack() > 0


def refuse_graph(backend: str) -> None:
    """Raises RuntimeError in a backward pass with create_graph=True. (`once_differentiable` is slower.)"""
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"the backend {backend} has no second derivatives (create_graph=True); "
            'use sparsefuse.backend("torch"), and '
            "torch.nn.attention.sdpa_kernel(SDPBackend.MATH), for PyTorch's own attention kernel has none either"
        )
