"""The operations in PyTorch: the definition that every other backend is tested against."""

from sparsefuse.layers.ops.torch.blocks import blocks, embedding
from sparsefuse.layers.ops.torch.patterns import attention, received
from sparsefuse.layers.ops.torch.pool import window_index, window_means

__all__ = ["attention", "blocks", "embedding", "received", "window_index", "window_means"]
