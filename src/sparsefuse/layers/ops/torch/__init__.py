"""The operations by PyTorch's own: the definition that every other backend is tested against."""

from sparsefuse.layers.ops.torch.attention import attention, received
from sparsefuse.layers.ops.torch.blocks import blocks, embedding

__all__ = ["attention", "blocks", "embedding", "received"]
