"""A detector: points, and pictures of them, to boxes; a backbone, candidates, and a flat list of layers.

Its loop is neither `FusionModel`'s nor `PixelModel`'s: it passes on seeds and candidates, and every layer predicts.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.layers.points.backbone import PointNet2
from sparsefuse.layers.points.heads import BoxHead, yaw_of
from sparsefuse.layers.points.keypoints import KeyPoints
from sparsefuse.layers.points.losses import Weights, box_losses, flat_losses, focal
from sparsefuse.layers.points.nms import suppress
from sparsefuse.layers.points.nouns import Boxes, Camera, Cloud
from sparsefuse.layers.points.picture import FlatBoxes, FlatHead, PictureTokens
from sparsefuse.layers.points.state import BoxPredictions, Exchanged, SceneState, Views
from sparsefuse.layers.points.targets import flat_targets, owners, wanted
from sparsefuse.layers.points.views import views_of
from sparsefuse.layers.points.vote import Votes


class Outputs(NamedTuple):
    """What a detector says of some scenes."""

    state: SceneState
    """the last: seeds, candidates, the predictions of every head, pictures as tokens, what was exchanged"""
    sampling: Tensor
    """(B, S) logits of seeds, to become candidates"""
    numbers: Tensor
    """(B, K) the seeds that did"""
    flat: FlatBoxes | None
    """what pictures alone say, where a model asks them"""
    votes: Votes | None
    """what pictures say of the candidates' classes, where a model asks them"""

    def of_scene(self, number: int) -> "Outputs":
        """What is said of one scene of the batch, as a batch of one."""
        state, one = self.state, slice(number, number + 1)
        views, flat, here = state.views, self.flat, None
        if views is not None:
            here = views.scene == number
            views = views.of_scene(number) if here.any() else None
        state = SceneState(
            Cloud(*(part[one] for part in state.seeds)),
            state.keys[one],
            Cloud(*(part[one] for part in state.candidates)),
            tuple(BoxPredictions(*(part[one] for part in said)) for said in state.predictions),
            views,
            tuple(Exchanged(*(part[one] for part in exchanged)) for exchanged in state.exchanges),
        )
        flat = FlatBoxes(*(part[here] for part in flat)) if flat is not None and views is not None else None
        votes = None if self.votes is None else Votes(*(part[one] for part in self.votes))
        return Outputs(state, self.sampling[one], self.numbers[one], flat, votes)

    def shares(self) -> dict[str, float]:
        """The share of seeds that each exchange replaced, of those that could be."""
        return {
            f"exchanged@{i}": float(some.replaced.sum() / some.could.sum().clamp_min(1))
            for i, some in enumerate(self.state.exchanges, 1)
        }


class DetectionModel(nn.Module):
    """Maps clouds, and any number of pictures of them, to boxes.

    `layers` change the state, one after another. `paint` changes the points before, by the pictures; `tokens` makes the
    pictures' tokens; `flat` reads objects of the pictures alone, `vote` classes of candidates, from the last tokens.
    `frames`: most pictures of a scene that are read; None = all.
    """

    def __init__(
        self,
        num_channels: int,
        backbone: PointNet2,
        sampling: KeyPoints,
        project: tuple[nn.Module, nn.Module],
        first: BoxHead,
        layers: Iterable[nn.Module],
        *,
        paint: nn.Module | None = None,
        tokens: PictureTokens | None = None,
        flat: FlatHead | None = None,
        vote: nn.Module | None = None,
        penalty: nn.Module | None = None,
        frames: int | None = None,
    ):
        super().__init__()
        self.num_channels, self.frames = num_channels, frames
        self.paint, self.backbone, self.sampling = paint, backbone, sampling
        self.first, (self.query, self.key) = first, project
        self.tokens, self.layers = tokens, nn.ModuleList(layers)
        self.flat, self.vote, self.penalty = flat, vote, penalty

    @property
    def reads_pictures(self) -> bool:
        """Whether pictures change anything."""
        return (self.paint is not None or self.tokens is not None) and self.frames != 0

    def forward(self, cloud: Cloud, pictures: Tensor | None = None, cameras: Camera | None = None) -> Outputs:
        """Clouds (B, N), pictures (B, C, H, W, 3) from 0 to 1 or normalised, cameras (B, C).

        Where a camera's size is 0 there is no picture; pictures that are smaller than the tensor are at its top left.
        Raises ValueError for other shapes, or no points.
        """
        self._check(cloud)
        views = None
        if self.reads_pictures:
            views = views_of(pictures, cameras, self.frames)
        return self.read(cloud, views)

    def read(self, cloud: Cloud, views: Views | None) -> Outputs:
        """The same of pictures that are known to be there."""
        cloud = cloud.zeroed()
        if self.paint is not None:
            cloud = self.paint(cloud, views)
        seeds = self.backbone(cloud).cloud
        chosen = self.sampling(seeds)
        candidates = chosen.candidates
        if views is not None and self.tokens is not None:
            views = self.tokens(views)
        predictions = (self.first(candidates),)
        candidates = candidates._replace(x=self.query(candidates.x))
        seeds = seeds._replace(x=self.key(seeds.x))
        state = SceneState(seeds, seeds.x, candidates, predictions, views, ())
        for layer in self.layers:
            state = layer(state)
        flat = self.flat(state.views) if self.flat is not None and state.views is not None else None
        votes = self.vote(state) if self.vote is not None else None
        return Outputs(state, chosen.logits, chosen.numbers, flat, votes)

    def losses(self, outputs: Outputs, boxes: Boxes, weights: Weights | None = None) -> dict[str, Tensor]:
        """Each loss (), weighted, for boxes (B, M) that are known; `loss` is their sum. A scene may have none."""
        weights = weights or Weights()
        state, mask = outputs.state, outputs.state.candidates.mask
        owner = owners(state.seeds, boxes)
        want = wanted(owner, outputs.numbers, mask, boxes)
        losses: dict[str, Tensor] = {}
        heads = len(state.predictions)
        factor = {"objectness": weights.objectness, "label": weights.label}
        for said in state.predictions:
            for name, loss in box_losses(said, want, self.first.means, mask, weights).items():
                loss = weights.scale * factor.get(name, weights.box) / heads * loss
                losses[name] = losses.get(name, 0) + loss
        near = owner.nearest(weights.nearest)
        losses["sampling"] = weights.scale * weights.sampling * focal(outputs.sampling, near, state.seeds.mask)
        if outputs.flat is not None and state.views is not None:
            losses["flat"] = weights.flat * flat_losses(outputs.flat, flat_targets(state.views, boxes))
        if outputs.votes is not None:
            losses["vote"] = weights.scale * weights.label * outputs.votes.loss(want)
        if self.penalty is not None:
            losses["penalty"] = self.penalty(state.exchanges)
        return {**losses, "loss": torch.stack(list(losses.values())).sum()}

    @torch.no_grad()
    def boxes(
        self, outputs: Outputs, *, nms: float | None = 0.25, oriented: bool = True, every_class: bool = False
    ) -> Boxes:
        """The boxes that the last head predicts, with its confidence as scores; see `suppress` for `nms`.

        `every_class`: each box (B, K) once for every class, (B, K * C), as it is scored; else for the likeliest.
        """
        said, mask = outputs.state.predictions[-1], outputs.state.candidates.mask
        shares = outputs.votes.shares if outputs.votes is not None else said.labels.softmax(2)
        best, label = shares.max(2)
        sure = said.objectness.sigmoid()
        found = Boxes(said.centre, said.size(), yaw_of(said), label, sure * best, mask)
        if nms is not None:
            found = suppress(found, nms, oriented=oriented)
        if not every_class:
            return found
        count = shares.shape[2]
        labels = torch.arange(count, device=label.device).expand(*label.shape, count).flatten(1)
        centre, size, yaw, mask = (
            part.repeat_interleave(count, 1) for part in (found.centre, found.size, found.yaw, found.mask)
        )
        return Boxes(centre, size, yaw, labels, (sure[..., None] * shares).flatten(1), mask)

    def _check(self, cloud: Cloud) -> None:
        expected = f"(B, N, 3), (B, N, {self.num_channels}) and (B, N)"
        shapes = [tuple(part.shape) for part in cloud]
        batch = shapes[2]
        if len(batch) != 2 or shapes[:2] != [(*batch, 3), (*batch, self.num_channels)]:
            raise ValueError(f"a cloud must be {expected}; got {', '.join(map(str, shapes))}")
        if not cloud.mask.any(1).all():
            lacking = (~cloud.mask.any(1)).nonzero()[:, 0].tolist()
            raise ValueError(f"scenes {lacking} of the batch have no point; leave them out")


class ScorePenalty(nn.Module):
    """What exchanges cost: the sum of the scores of all layers and of the seeds that some picture shows, a scene's mean
    (the released lambda term; there the one picture shows all); or the squared distance of the share that each layer
    replaces from `target_share`, with the gradient of a soft count.
    """

    def __init__(self, factor: float, threshold: float, target_share: float | None):
        super().__init__()
        self.factor, self.threshold, self.target_share = factor, threshold, target_share

    def forward(self, exchanges: tuple[Exchanged, ...]) -> Tensor:
        parts = []
        for score, replaced, could in exchanges:
            if self.target_share is None:
                parts.append((score * could).sum() / len(could))
                continue
            count = could.sum().clamp_min(1)
            edge = torch.tensor(self.threshold).clamp(1e-6, 1 - 1e-6).logit().item()
            soft = ((edge - score.float().logit(1e-6)).sigmoid() * could).sum() / count
            share = replaced.sum() / count + soft - soft.detach()
            parts.append(((share - self.target_share) * could.any()) ** 2 / len(exchanges))
        return self.factor * torch.stack(parts).sum()
