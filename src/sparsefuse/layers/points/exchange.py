"""TokenFusion of points and pictures (Wang et al. 2022, section 3.4): seeds of low score read a picture instead."""

import torch
from torch import nn

from sparsefuse.layers.exchange import Score
from sparsefuse.layers.points.picture import feed_forward
from sparsefuse.layers.points.state import Exchanged, SceneState
from sparsefuse.layers.points.views import tokens_at


class PointExchange(nn.Module):
    """What candidates read next: each seed times its score; where that is below `threshold` and a picture shows it, the
    projection of the picture's token there. One way, and always of the seeds' own tokens.

    `detach`: nothing flows back into the pictures from here, as published.
    """

    def __init__(self, dim: int, picture_dim: int, *, threshold: float, detach: bool):
        super().__init__()
        self.threshold, self.detach = threshold, detach
        self.score, self.project = Score(dim), feed_forward(picture_dim, picture_dim, dim)

    def forward(self, state: SceneState) -> SceneState:
        seeds, views = state.seeds, state.views
        score = self.score(seeds.x)  # (B, S)
        own = seeds.x * score[..., None]
        if views is None:
            nothing = torch.zeros_like(seeds.mask)
            return state._replace(keys=own, exchanges=(*state.exchanges, Exchanged(score, nothing, nothing)))
        shown, seen = tokens_at(views, seeds.xyz)
        could = seen & seeds.mask
        replaced = could & (score < self.threshold)
        keys = torch.where(replaced[..., None], self.project(shown.detach() if self.detach else shown), own)
        return state._replace(keys=keys, exchanges=(*state.exchanges, Exchanged(score, replaced, could)))
