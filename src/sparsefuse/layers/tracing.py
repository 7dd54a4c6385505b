"""What is watching: an exported model must hold for every length, an eager or compiled one for the length at hand."""

import torch


def exporting() -> bool:
    """Whether torch.export traces this call. Before torch 2.7 nothing tells it from torch.compile."""
    return getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()
