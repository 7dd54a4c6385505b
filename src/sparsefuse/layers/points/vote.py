"""What pictures say of the candidates' classes: scores of two detectors, fused."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsefuse.layers.points.state import SceneState
from sparsefuse.layers.points.targets import Wanted
from sparsefuse.layers.points.views import tokens_at


class Votes(NamedTuple):
    """Two opinions on candidates, and both."""

    pictures: Tensor
    """(B, K, C) logits of the pictures' tokens where each predicted middle falls; 0 where none shows it"""
    seen: Tensor
    """(B, K) bool: some picture shows it"""
    shares: Tensor
    """(B, K, C) probabilities: the weighted mean of both where it is seen, of the points where not"""

    def loss(self, want: Wanted) -> Tensor:
        """() of the pictures' opinion, and of the weight of the mean."""
        seen = want.object * self.seen
        own = F.cross_entropy(self.pictures.transpose(1, 2), want.label, reduction="none")
        both = -self.shares.gather(2, want.label[..., None])[..., 0].clamp_min(1e-6).log()
        return ((own + both) * seen).sum() / seen.sum().clamp_min(1)


class Vote(nn.Module):
    """Classes by the pictures' tokens at the middles of the predicted boxes, and their mean with the points' classes.

    Nothing flows back from the mean but into its weight.
    """

    def __init__(self, picture_dim: int, num_classes: int):
        super().__init__()
        self.norm, self.out = nn.LayerNorm(picture_dim), nn.Linear(picture_dim, num_classes)
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, state: SceneState) -> Votes:
        said = state.predictions[-1]
        own = said.labels.detach().softmax(2)
        if state.views is None:
            return Votes(torch.zeros_like(own), torch.zeros_like(state.candidates.mask), own)
        tokens = state.views.tokens
        views = state.views._replace(tokens=tokens._replace(x=self.out(self.norm(tokens.x))))
        logits, seen = tokens_at(views, said.centre.detach())
        a, b = self.weight.softmax(0)
        both = a * own + b * logits.detach().softmax(2)
        return Votes(logits, seen, torch.where(seen[..., None], both, own))
