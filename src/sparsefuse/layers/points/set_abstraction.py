"""PointNet++'s layers (Qi et al. 2017): many points to fewer that know their neighbours, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sparsefuse.layers.ops.tracing import exporting
from sparsefuse.layers.points.grouping import Balls, ball_query, interpolate
from sparsefuse.layers.points.mlp import PointMlp, unpacked
from sparsefuse.layers.points.nouns import Cloud
from sparsefuse.layers.points.sampling import Sample, gather


class SetAbstraction(nn.Module):
    """A cloud to chosen points of it, each with the largest values of a network over the ball around it.

    The network reads a neighbour's place in the ball, from -1 to 1, and its channels. `most`: neighbours of a point.
    """

    def __init__(self, num_channels: int, widths: Sequence[int], *, radius: float, most: int):
        super().__init__()
        self.radius, self.most = radius, most
        self.mlp = PointMlp([3 + num_channels, *widths])

    def forward(self, cloud: Cloud, chosen: Sample) -> Cloud:
        centres = torch.where(chosen.mask[..., None], gather(cloud.xyz, chosen.numbers), 0.0)  # (B, K, 3)
        balls = ball_query(cloud.xyz, cloud.mask, centres, chosen.mask, self.radius, self.most)
        if exporting():
            return self._dense(cloud, centres, chosen, balls)
        scene, centre, _ = balls.mask.nonzero(as_tuple=True)  # (R) pairs of a centre and a neighbour
        point = balls.numbers[balls.mask]
        place = (cloud.xyz[scene, point] - centres[scene, centre]) / self.radius
        rows = self.mlp.rows(torch.cat([place, cloud.x[scene, point]], 1))
        x = unpacked(rows, balls.mask, fill=-torch.inf).amax(2)  # (B, K, D)
        return Cloud(centres, torch.where(chosen.mask[..., None], x, 0.0), chosen.mask)

    def _dense(self, cloud: Cloud, centres: Tensor, chosen: Sample, balls: Balls) -> Cloud:
        """The same of all places of all balls: how many are taken must not shape a graph."""
        place = (gather(cloud.xyz, balls.numbers) - centres[:, :, None]) / self.radius  # (B, K, S, 3)
        pairs = torch.cat([place, gather(cloud.x, balls.numbers)], 3)
        x = self.mlp.rows(pairs.flatten(0, 2)).unflatten(0, balls.mask.shape)
        x = torch.where(balls.mask[..., None], x, -torch.inf).amax(2)
        return Cloud(centres, torch.where(chosen.mask[..., None], x, 0.0), chosen.mask)


class Propagation(nn.Module):
    """Few points' values at the many they were chosen from, joined with what those had, through a network."""

    def __init__(self, num_channels: int, widths: Sequence[int]):
        super().__init__()
        self.mlp = PointMlp([num_channels, *widths])

    def forward(self, many: Cloud, few: Cloud) -> Cloud:
        between = interpolate(few.x, few.xyz, few.mask, many.xyz)
        return many._replace(x=self.mlp(torch.cat([between, many.x], 2), many.mask))
