"""Resizes pictures by what they show: colours are averaged, depth where it was measured only, labels never."""

import torch
from torch import Tensor
from torch.nn import functional

from sparsefuse.data.pixels.read import unit


def resized(x: Tensor, kind: str, height: int, width: int) -> Tensor:
    """(H, W, F) of a kind of picture -> (height, width, F), bilinear with antialias.

    Normals have length 1 again. Depth is the mean of the pixels that were measured, and counts as measured where they
    are half of the weight: a hole does not smear.
    """
    if x.shape[:2] == (height, width):
        return x
    if kind == "depth":
        measured = x[..., 1:]
        metres, share = (_scaled(y, height, width) for y in (x[..., :1] * measured, measured))
        known = share >= 0.5 - 1e-6
        return torch.cat([torch.where(known, metres / share.clamp_min(0.1), 0.0), known.float()], -1)
    y = _scaled(x, height, width)
    return unit(y) if kind == "normal" else y


def resized_labels(labels: Tensor, height: int, width: int) -> Tensor:
    """(H, W, ...) -> (height, width, ...): of each pixel the nearest one."""
    rows, columns = (nearest(new, old) for new, old in zip((height, width), labels.shape[:2], strict=True))
    return labels if labels.shape[:2] == (height, width) else labels[rows][:, columns]


def nearest(new: int, old: int) -> Tensor:
    """(new,) places among `old` whose centres are nearest to those of `new` that cover the same length."""
    return ((torch.arange(new) + 0.5) * (old / new)).long().clamp_max(old - 1)


def _scaled(x: Tensor, height: int, width: int) -> Tensor:
    y = functional.interpolate(
        x.movedim(-1, 0)[None], size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return y[0].movedim(0, -1).contiguous()
