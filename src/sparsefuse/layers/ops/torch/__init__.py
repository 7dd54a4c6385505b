"""The operations in PyTorch: the definition that every other backend is tested against."""

from sparsefuse.layers.ops.torch.blocks import blocks, embedding
from sparsefuse.layers.ops.torch.patterns import attention, received

__all__ = ["attention", "blocks", "embedding", "received"]
