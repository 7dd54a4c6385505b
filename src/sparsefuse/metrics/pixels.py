"""Scores of segmentation and translation: predictions and truth, batch by batch, in; numbers over all pixels out."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

RANGE = 2.0
"""of a translated picture's values, which are from -1 to 1"""
SIGMA, SIDE = 1.5, 11
"""of SSIM's Gaussian window (Wang et al. 2004)"""


class Confusion:
    """Counts pixels by true and predicted class."""

    def __init__(self, num_classes: int, ignore: int):
        self.num_classes, self.ignore = num_classes, ignore
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        """(C, C) a row per true class, a column per predicted one"""

    def add(self, predicted: Tensor, target: Tensor) -> None:
        """Pixels of any shape, int64: their predicted class, and the true one or `ignore`. Raises ValueError for a
        class that there is not."""
        counted = target != self.ignore
        predicted, target = predicted[counted], target[counted]
        if len(target) and not 0 <= int(target.min()) <= int(target.max()) < self.num_classes:
            raise ValueError(
                f"a label is {int(target.min())} to {int(target.max())}; expected 0 to {self.num_classes - 1}, or "
                f"{self.ignore}, which is ignored"
            )
        pairs = torch.bincount(target * self.num_classes + predicted, minlength=self.num_classes**2)
        self.counts += pairs.view(self.num_classes, -1).cpu()

    def scores(self, classes: Sequence[str] = ()) -> dict[str, float]:
        """See `segmentation_scores`."""
        return segmentation_scores(self.counts, classes)


def segmentation_scores(confusion: Tensor, classes: Sequence[str] = ()) -> dict[str, float]:
    """`pix_acc`, `macc` and `miou` of a confusion (C, C), and `iou_<class>` if classes have names; none without pixels.

    A class that is neither true nor predicted in any pixel counts in no mean and has no score of its own. One that is
    predicted and never true counts as 0 in both means, as in torchmetrics.
    """
    counts = confusion.double()
    right, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    there = (true + predicted) > 0
    if not there.any():
        return {}
    iou = right / (true + predicted - right).clamp_min(1)
    scores = {
        "pix_acc": float(right.sum() / counts.sum()),
        "macc": float((right / true.clamp_min(1))[there].mean()),
        "miou": float(iou[there].mean()),
    }
    return scores | {f"iou_{name}": float(iou[i]) for i, name in enumerate(classes) if there[i]}


class PictureErrors:
    """Sums up how far pictures are from their targets; values are from -1 to 1."""

    def __init__(self) -> None:
        self.values = 0
        self.absolute = self.squared = self.similar = 0.0
        self.pictures = 0
        """that are large enough for SSIM"""

    def add(self, made: Tensor, target: Tensor, mask: Tensor) -> None:
        """Pictures (B, H, W, C), and which of their pixels (B, H, W) are compared."""
        made, target = made.double(), target.double()
        difference = (made - target)[mask]
        self.values += difference.numel()
        self.absolute += float(difference.abs().sum())
        self.squared += float(difference.square().sum())
        each = ssim(made, target, mask)
        self.pictures += int((~each.isnan()).sum())
        self.similar += float(each.nansum())

    def scores(self) -> dict[str, float]:
        """`mae`, `mse` and `psnr` over all values that were compared, `ssim` the mean over pictures; none without a
        value. Without an error PSNR has no number, and without a picture of 6 x 6 pixels SSIM: they are left out."""
        if not self.values:
            return {}
        mse = self.squared / self.values
        scores = {"mae": self.absolute / self.values, "mse": mse}
        if mse:
            scores["psnr"] = 10 * math.log10(RANGE**2 / mse)
        if self.pictures:
            scores["ssim"] = self.similar / self.pictures
        return scores


def ssim(made: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """(B,) the structural similarity of pictures (B, H, W, C), each within its own borders, over windows without a
    pixel that is masked there; NaN for a picture without one, or with fewer than 6 rows or columns."""
    each = [_ssim(*one) for one in zip(made, target, mask, strict=True)]
    return torch.stack(each) if each else made.new_zeros(0)


def _ssim(made: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """() of one picture (H, W, C). At its borders windows see its mirror image, as in torchmetrics."""
    rows, columns = (int(line.nonzero().max() + 1) if line.any() else 0 for line in (mask.any(1), mask.any(0)))
    if min(rows, columns) <= SIDE // 2:
        return made.new_tensor(math.nan)
    mask = mask[:rows, :columns]
    made, target = (x[:rows, :columns].masked_fill(~mask[..., None], 0).permute(2, 0, 1) for x in (made, target))
    line = torch.arange(SIDE, dtype=made.dtype, device=made.device) - SIDE // 2
    line = (-(line**2) / (2 * SIGMA**2)).softmax(0)

    def mean(x: Tensor) -> Tensor:
        """(C, H, W) -> (C, H, W)"""
        x = _mirrored(x)
        for kernel in (line[:, None], line[None, :]):
            x = F.conv2d(x, kernel[None, None])
        return x[:, 0]

    ours, theirs = mean(made), mean(target)
    spread = (mean(made**2) - ours**2).clamp_min(0) + (mean(target**2) - theirs**2).clamp_min(0)
    together = mean(made * target) - ours * theirs
    least, less = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    similar = (2 * ours * theirs + least) * (2 * together + less)
    similar = similar / ((ours**2 + theirs**2 + least) * (spread + less))
    holes = F.max_pool2d(_mirrored((~mask)[None].to(made.dtype)), SIDE, 1)[0, 0]
    return similar[:, holes == 0].mean()


def _mirrored(x: Tensor) -> Tensor:
    """(C, H, W) -> (C, 1, H + 10, W + 10)"""
    return F.pad(x[:, None], (SIDE // 2,) * 4, mode="reflect")
