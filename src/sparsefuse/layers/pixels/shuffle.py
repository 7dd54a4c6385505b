"""The second half of TokenFusion's generator: a pyramid of fields to a picture, by pixel shuffle."""

from torch import Tensor, nn

from sparsefuse.layers.pixels.block import MixBlock, Norms
from sparsefuse.layers.pixels.encoder import of
from sparsefuse.layers.pixels.sizes import Size
from sparsefuse.layers.pixels.weights import linear, norm
from sparsefuse.tokens import Field


class ShuffleDecoder(nn.Module):
    """The encoder's stages but the last in reverse, each twice as large as the one before; then the picture, from -1 to
    1 (TokenFusion, supplement B). `num_norms` streams share it, each with norms of its own."""

    stride = 1
    """pixels per value, along each side"""

    def __init__(self, size: Size, channels: int, num_norms: int = 1):
        super().__init__()
        if any(stride != 2 for _, stride in size.patches) or any(dim % 4 for dim in size.dims):
            raise ValueError(f"translation needs strides of 2 and dims that are multiples of 4; got {size}")
        self.stages = nn.ModuleList(DecoderStage(size, i, num_norms) for i in reversed(range(len(size.dims) - 1)))
        self.last = Enlarge(size.dims[0], size.dims[0])
        self.norms = nn.ModuleList(norm(size.dims[0]) for _ in range(num_norms))
        self.paint = linear(size.dims[0], channels)

    def forward(self, pyramid: list[Field], stream: int = 0) -> Tensor:
        """(B, 2 H1, 2 W1, channels), for the stream of that number."""
        field = pyramid[-1]
        for stage, skip in zip(self.stages, pyramid[-2::-1], strict=True):
            field = stage(field, skip, stream)
        return self.paint(of(self.norms, stream)(self.last(field.x))).tanh()


class DecoderStage(nn.Module):
    """Twice as large, the encoder's field of that size added, blocks."""

    def __init__(self, size: Size, i: int, num_norms: int):
        super().__init__()
        dim, reduction = size.dims[i], size.reductions[i]
        self.enlarge = Enlarge(size.dims[i + 1], dim)
        self.blocks = nn.ModuleList(MixBlock(dim, size.num_heads[i], reduction) for _ in range(size.depths[i]))
        self.norms = nn.ModuleList(
            nn.ModuleList([norm(dim), *(Norms(dim, reduction) for _ in self.blocks), norm(dim)])
            for _ in range(num_norms)
        )

    def forward(self, field: Field, skip: Field, stream: int) -> Field:
        first, *norms, last = self.norms[stream % len(self.norms)].children()
        _, rows, columns = skip.mask.shape
        field = Field(first(self.enlarge(field.x)[:, :rows, :columns] + skip.x), skip.mask)
        for block, own in zip(self.blocks, norms, strict=True):
            field = block(field, own)
        return Field(last(field.x), field.mask)


class Enlarge(nn.Module):
    """(B, H, W, D) -> (B, 2 H, 2 W, D'): four pixels of D / 4 channels from every token, made D' wide."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.widen = linear(dim_in // 4, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(-1, (2, 2, -1)).permute(0, 1, 3, 2, 4, 5)  # (B, H, 2, W, 2, D / 4)
        return self.widen(x.flatten(3, 4).flatten(1, 2))
