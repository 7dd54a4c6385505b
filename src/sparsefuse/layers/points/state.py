"""What the layers of a detector pass on: seeds, candidates, what was predicted of them, pictures as tokens."""

from typing import NamedTuple

from torch import Tensor

from sparsefuse.layers.points.nouns import Camera, Cloud
from sparsefuse.tokens import Tokens


class BoxPredictions(NamedTuple):
    """What a head says of K candidates."""

    objectness: Tensor
    """(B, K) logits"""
    centre: Tensor
    """(B, K, 3)"""
    bins: Tensor
    """(B, K, bins) logits of the direction"""
    turns: Tensor
    """(B, K, bins) how far it is from the middle of each bin, in halves of a bin"""
    clusters: Tensor
    """(B, K, S) logits of the usual sizes; S is 0 where the size is predicted by itself"""
    sizes: Tensor
    """(B, K, max(S, 1), 3) the size by each usual size, in metres"""
    labels: Tensor
    """(B, K, C) logits"""

    def size(self) -> Tensor:
        """(B, K, 3) by the likeliest usual size; never negative"""
        if not self.clusters.shape[2]:
            return self.sizes[:, :, 0].clamp_min(0)
        best = self.clusters.argmax(2)[..., None, None].expand(-1, -1, 1, 3)
        return self.sizes.gather(2, best)[:, :, 0].clamp_min(0)


class Views(NamedTuple):
    """The pictures of a batch, those that are there, one after another."""

    pictures: Tensor
    """(P, H, W, 3)"""
    scene: Tensor
    """(P) long: whose each is"""
    camera: Camera
    """(P, ...)"""
    tokens: Tokens
    """(P, 1 + N + T, D): one for all, those of the patches row after row, and T that look for objects; empty where
    a model makes none"""
    grid: tuple[int, int]
    """rows and columns of patches"""
    patch: int
    """pixels of a patch, along each side"""

    def of_scene(self, number: int) -> "Views":
        """The pictures of one scene of the batch, as of a batch of one."""
        here = self.scene == number
        camera, tokens = (
            Camera(*(part[here] for part in self.camera)),
            Tokens(self.tokens.x[here], self.tokens.mask[here]),
        )
        return self._replace(
            pictures=self.pictures[here], scene=self.scene[here] - number, camera=camera, tokens=tokens
        )


class Exchanged(NamedTuple):
    """What a layer replaced."""

    score: Tensor
    """(B, S) of seeds, from 0 to 1"""
    replaced: Tensor
    """(B, S) bool"""
    could: Tensor
    """(B, S) bool: real seeds that some picture shows"""


class SceneState(NamedTuple):
    """What one layer passes to the next."""

    seeds: Cloud
    """(B, S), what they know as keys"""
    keys: Tensor
    """(B, S, D) what candidates read next: the same, or what replaced it"""
    candidates: Cloud
    """(B, K): the seeds that were chosen, where they are, and what is known of them by now"""
    predictions: tuple[BoxPredictions, ...]
    """by all heads so far"""
    views: Views | None
    """None where there is no picture, or it is not read"""
    exchanges: tuple[Exchanged, ...]
