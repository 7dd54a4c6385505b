"""Painted points (after Vora et al. 2020): each has what the pictures show where it falls."""

import torch
from torch import nn

from sparsefuse.layers.points.nouns import Cloud
from sparsefuse.layers.points.state import Views
from sparsefuse.layers.points.views import pixels_at


class Paint(nn.Module):
    """A cloud's channels, then the colour, `dim` channels of a small network on the picture, and whether any picture
    shows the point; the mean over the pictures that do, and zeros where none does."""

    def __init__(self, dim: int):
        super().__init__()
        self.added = 3 + dim + 1
        self.net = None
        if dim:  # one layer that sees neighbours: where a picture ends, zeros are what padding is
            self.net = nn.Sequential(
                nn.Conv2d(3, dim, 5, padding=4, dilation=2),
                nn.ReLU(),
                nn.Conv2d(dim, dim, 1),
                nn.ReLU(),
                nn.Conv2d(dim, dim, 1),
            )

    def forward(self, cloud: Cloud, views: Views | None) -> Cloud:
        if views is None:
            nothing = cloud.x.new_zeros(*cloud.mask.shape, self.added)
            return cloud._replace(x=torch.cat([cloud.x, nothing], 2))
        pictures = views.pictures.permute(0, 3, 1, 2)
        shown, seen = pixels_at(views, pictures, cloud.xyz)
        parts = [cloud.x, shown]
        if self.net is not None:
            parts.append(pixels_at(views, self.net(pictures), cloud.xyz)[0])
        return cloud._replace(x=torch.cat([*parts, seen[..., None].to(cloud.x.dtype)], 2)).zeroed()
