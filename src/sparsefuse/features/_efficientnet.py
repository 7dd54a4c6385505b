"""EfficientNet-Lite0: normalised pictures (B, 3, 224, 224) in, maps (B, 1280, 7, 7) out.

Tan and Le, EfficientNet, 2019; the Lite variant has ReLU6 and no squeeze-and-excitation. Batch normalisation is part of
the convolutions here: half the time on a CPU.
"""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

SIDE = 224
MEAN, STD = 127.0, 128.0
"""Of pixels of 0 to 255: what it was trained with, whatever the package's own example says."""
# Of each stage: blocks, kernel, stride of the first block, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class EfficientNetLite0(nn.Sequential):
    """All but the classifier."""

    def __init__(self) -> None:
        blocks, width = [], 32
        for count, kernel, stride, expansion, channels in _STAGES:
            for i in range(count):
                blocks.append(_Block(width, channels, kernel, 1 if i else stride, expansion))
                width = channels
        super().__init__(*_convolution(3, 32, 3, stride=2), *blocks, *_convolution(width, 1280, 1))

    def load(self, tensors: Iterable[Tensor]) -> None:
        """From the tensors of a state dict in their order: six of each convolution, the last of them a counter."""
        source = iter(tensors)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                kernel, gain, bias, mean, var, _ = (next(source) for _ in range(6))
                layer.weight, layer.bias = fuse_conv_bn_weights(kernel, None, mean, var, 1e-3, gain, bias)


class _Block(nn.Sequential):
    """Widens, mixes each channel's neighbourhood, narrows; with a shortcut where the shape stays."""

    def __init__(self, width: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        inner = width * expansion
        super().__init__(
            *(_convolution(width, inner, 1) if expansion > 1 else ()),
            *_convolution(inner, inner, kernel, stride=stride, groups=inner),
            nn.Conv2d(inner, channels, 1),
        )
        self._shortcut = stride == 1 and width == channels

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + input if self._shortcut else super().forward(input)


def _convolution(width: int, channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    # TensorFlow's "same" padding of an even side: with a stride of 2, one zero less before than after.
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    padded = [nn.ZeroPad2d((before, after, before, after))] if before != after else []
    padding = 0 if padded else before
    return [*padded, nn.Conv2d(width, channels, kernel, stride, padding, groups=groups), nn.ReLU6(inplace=True)]
