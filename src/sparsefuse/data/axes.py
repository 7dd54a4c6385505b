"""Points of training samples turned and mirrored: of sensors and of skeletons.

A rotation mixes the axes of a point, so it is done to the features as they were before they were normalised.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sparsefuse.config import Axes, Data
from sparsefuse.data.stats import Stats
from sparsefuse.tokens import Batch, Tokens


def check_axes(data: Data, features: Mapping[str, int]) -> None:
    """Raises ValueError for axes that the features do not have, and for a rotation or mirror of none."""
    for field in ("rotate", "mirror"):
        if getattr(data, field) and not data.axes:
            raise ValueError(
                f"data.{field} is {getattr(data, field)}, but data.axes says of no modality that its features are axes "
                f"of points; such as {{{next(iter(features))}: {{size: 3}}}}"
            )
    for name, axes in data.axes.items():
        place, points = f"data.axes: {name!r}", features[name] // max(axes.size, 1)
        if axes.size not in (2, 3) or features[name] % axes.size:
            raise ValueError(
                f"{place} has points of {axes.size} axes and {features[name]} features; expected 2 or 3 "
                "axes a point, and features a multiple of it"
            )
        if wrong := [i for i in (*axes.axial, *sum(axes.swap, ())) if not 0 <= i < points]:
            raise ValueError(f"{place} names point {wrong[0]}; it has {points}, counted from 0")
        if axes.size == 2 and (axes.axial or axes.across == "z" or axes.about != "any"):
            raise ValueError(f"{place}: about, axial and across=z need points of 3 axes; it has 2")


def turn(batch: Batch, data: Data, stats: Stats | None, generator: torch.Generator) -> Batch:
    """Turns the points of each sample about 0 by up to `data.rotate` degrees, and mirrors them with probability
    `data.mirror`. `stats` are those by which the batch was normalised.

    A mirror is of the whole scene: of all streams of a sample, or of none.
    """
    count, tokens = len(batch.ids), dict(batch.tokens)
    mirrored = torch.rand(count, generator=generator) < data.mirror
    frames: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}
    for name, axes in data.axes.items():
        x, mask = tokens[name]
        frame = (axes.frame, "" if axes.frame else name)
        if frame not in frames:
            angle = math.radians(data.rotate) * (2 * torch.rand(count, generator=generator) - 1)
            frames[frame] = angle, torch.randn(count, 3, generator=generator)
        turned = _rotation(axes, *frames[frame])  # (B, A, A)
        reflected = turned.where(~mirrored[:, None, None], turned @ _mirror(axes))
        if stats:
            x = x * stats.std[name].to(x) + stats.mean[name].to(x)
        points = x.unflatten(2, (-1, axes.size))
        order = torch.arange(points.shape[2])
        for one, other in axes.swap:
            order[[one, other]] = torch.tensor([other, one])
        order = order.where(mirrored[:, None], torch.arange(len(order)))  # (B, P)
        points = points.gather(2, order[:, None, :, None].expand_as(points).to(x.device))
        sign = torch.ones(count, points.shape[2])
        sign[:, axes.axial] = (1 - 2 * mirrored.float())[:, None]
        points = torch.einsum("bij,bnpj,bp->bnpi", reflected.to(x), points, sign.to(x))
        x = points.flatten(2)
        if stats:
            x = (x - stats.mean[name].to(x)) / stats.std[name].to(x)
        tokens[name] = Tokens(x * mask[..., None], mask)
    return batch._replace(tokens=tokens)


def _mirror(axes: Axes) -> Tensor:
    """(A, A) The axis from left to right reversed."""
    signs = torch.ones(axes.size)
    signs["xyz".index(axes.across)] = -1
    return signs.diag()


def _rotation(axes: Axes, angle: Tensor, drawn: Tensor) -> Tensor:
    """(B, A, A) By `angle` (B,) about the axis of `axes`, or the directions `drawn` (B, 3)."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    if axes.size == 2:
        return cos * torch.eye(2) + sin * torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    axis = drawn / drawn.norm(dim=1, keepdim=True)
    if axes.about != "any":
        axis = torch.eye(3)["xyz".index(axes.about)].expand_as(drawn)
    x, y, z = axis.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    return torch.eye(3) + sin * cross + (1 - cos) * (cross @ cross)  # Rodrigues
