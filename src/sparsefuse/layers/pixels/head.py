"""From pyramids to what the model says: a decoder, or one per stream and the average of what they say."""

from typing import Literal

import torch
from torch import Tensor, nn

from sparsefuse.layers.options import check_choice
from sparsefuse.layers.pixels.encoder import Shared, apart, at, of
from sparsefuse.layers.pixels.field import enlarged
from sparsefuse.layers.pixels.mlp_head import AllMlpHead
from sparsefuse.layers.pixels.shuffle import ShuffleDecoder
from sparsefuse.layers.pixels.sizes import Size, Task
from sparsefuse.tokens import Field, PixelHeadOutputs, PixelState

Loss = Literal["mean", "each"]


class PixelHead(nn.Module):
    """Decodes the pyramid of every one of `names` and averages, with learned weights.

    A stream counts only where it is real. `loss`: of the average (mean), or of every stream's prediction, and of the
    average as far as its weights go (each: TokenFusion, where the released code leaves the weights out of training).
    """

    def __init__(
        self,
        names: tuple[str, ...],
        task: Task,
        size: Size,
        num_classes: int,
        *,
        shared: Shared = "none",
        loss: Loss = "mean",
    ):
        super().__init__()
        check_choice("loss", loss, Loss)
        self.names, self.num_stages, self.loss = names, len(size.dims), loss

        def decoder() -> AllMlpHead | ShuffleDecoder:
            if task == "segment":
                return AllMlpHead(size, num_classes)
            return ShuffleDecoder(size, num_classes, 1 if shared == "none" else len(apart(names, shared)))

        self.decoders = nn.ModuleList(decoder() for _ in names[: None if shared == "none" else 1])
        self.stride: int = self.decoders[0].stride  # pyright: ignore[reportAttributeAccessIssue]
        self.weight = nn.Parameter(torch.zeros(len(names))) if len(names) > 1 else None  # alpha before its softmax

    def forward(self, state: PixelState, rows: int, columns: int) -> Tensor:
        """The average (B, H, W, C) for pictures of that size, through which gradients reach everything."""
        return self._large(self._average(self._predictions(state)), rows, columns)

    def outputs(self, state: PixelState, rows: int, columns: int) -> PixelHeadOutputs:
        """What training takes a loss of."""
        if self.weight is None or self.loss == "mean":
            logits = self(state, rows, columns)[:, None]
            return PixelHeadOutputs(("ensemble",), logits, logits.new_ones(logits.shape[:2]))
        return self.branches(state, rows, columns)

    def branches(self, state: PixelState, rows: int, columns: int) -> PixelHeadOutputs:
        """Every stream's prediction, and the average, whose gradients reach its weights alone."""
        predictions = self._predictions(state)
        if self.weight is None:
            logits = self._large(predictions[0], rows, columns)[:, None]
            return PixelHeadOutputs(("ensemble",), logits, logits.new_ones(logits.shape[:2]))
        average = self._average([Field(x.detach(), mask) for x, mask in predictions])
        logits = torch.stack([self._large(field, rows, columns) for field in [*predictions, average]], 1)
        there = torch.stack([field.mask.flatten(1).any(1) for field in [*predictions, average]], 1)  # (B, M + 1)
        return PixelHeadOutputs((*self.names, "ensemble"), logits, there / there.sum(1, keepdim=True).clamp_min(1))

    def _predictions(self, state: PixelState) -> list[Field]:
        fields = []
        for i, name in enumerate(self.names):
            pyramid = [state.streams[at(name, stage + 1)] for stage in range(self.num_stages)]
            x, mask = of(self.decoders, i)(pyramid, i), pyramid[0].mask
            if x.shape[1] > mask.shape[1]:
                mask = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)
            fields.append(Field(x, mask))
        return fields

    def _average(self, predictions: list[Field]) -> Field:
        if self.weight is None:
            return predictions[0]
        x, mask = (torch.stack(parts) for parts in zip(*predictions, strict=True))  # (M, B, H', W', C), (M, B, H', W')
        weight = (self.weight.softmax(0)[:, None, None, None] * mask)[..., None]
        weight = weight / weight.sum(0).clamp_min(torch.finfo(weight.dtype).tiny)
        return Field((x * weight.to(x.dtype)).sum(0), mask.any(0))

    def _large(self, field: Field, rows: int, columns: int) -> Tensor:
        return enlarged(field, self.stride, rows, columns)
