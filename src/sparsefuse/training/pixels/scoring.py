"""The scores of a model on pixels: scenes in; scores of its answer and of every stream's, and shares exchanged, out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.config.pixels import PixelTask
from sparsefuse.data.pixels.augment import holed
from sparsefuse.data.pixels.batches import collate
from sparsefuse.data.pixels.scenes import Scene, SceneBatch, SceneDataset
from sparsefuse.metrics.pixels import Confusion, PictureErrors
from sparsefuse.model.pixels import PixelModel
from sparsefuse.runs.records import Scores
from sparsefuse.tokens import Field, PixelState
from sparsefuse.training.pixels.distances import Distances
from sparsefuse.training.pixels.loss import loss_of

Change = Callable[[int, Scene], Scene]
"""of a scene, by its number"""
ANSWER = "ensemble"
"""the average of all streams' predictions"""


class Truth(NamedTuple):
    """What predictions are compared with."""

    task: PixelTask
    classes: list[str]
    ignore: int

    @property
    def main(self) -> str:
        """The score that streams have, too."""
        return "miou" if self.task == "segment" else "mae"

    def sums(self) -> "Sums":
        """Nothing yet."""
        return Sums(self)


class Sums:
    """Adds up one prediction's errors."""

    def __init__(self, truth: Truth):
        self.truth = truth
        self.confusion = Confusion(len(truth.classes), truth.ignore)
        self.errors = PictureErrors()

    def add(self, made: Tensor, target: Tensor, mask: Tensor) -> None:
        """Predictions (B, H, W, C)."""
        if self.truth.task == "segment":
            self.confusion.add(made.argmax(-1), target.masked_fill(~mask, self.truth.ignore))
        else:
            self.errors.add(made, target, mask)

    def scores(self, *, classes: bool = False) -> dict[str, float]:
        """See `pixel_metrics`."""
        if self.truth.task == "segment":
            return self.confusion.scores(self.truth.classes if classes else ())
        return self.errors.scores()


@dataclass
class Scored:
    """Of one split."""

    scores: Scores
    """of the answer; `miou_<stream>` of a stream's own prediction, where each has one, and `exchanged_<stream>` the
    share of its tokens that were replaced, `channels_<stream>` of the channels that are its to give up"""
    confusion: list[list[int]] | None
    """of the answer; a row per true class"""
    exchanged: dict[str, float] = field(default_factory=dict)
    """stream@stage.block -> share of the tokens that it replaced"""
    channels: dict[str, float] = field(default_factory=dict)
    """the same of channels"""
    pictures: list[tuple[str, Scores]] = field(default_factory=list)
    """id -> the answer's scores for it alone"""


@torch.inference_mode()
def score(
    model: PixelModel,
    scenes: SceneDataset,
    truth: Truth,
    batch_size: int,
    *,
    change: Change | None = None,
    each: bool = False,
    distances: Distances | None = None,
) -> Scored:
    """The scores of a split, one batch in memory at a time. `change` is made to each scene first; `each`: those of
    every picture and class, too; `distances`: those that a network sees. Raises ValueError for labels that no class
    has."""
    model.eval()
    sums, streams, exchanges = truth.sums(), dict[str, Sums](), _Exchanges()
    loss, pictures = 0.0, []
    for batch in _batches(model, scenes, truth.ignore, batch_size, change):
        state, size = model.encode(batch.fields)
        exchanges.add(state)
        answer = model.head(state, *size).float()
        loss += float(loss_of(answer, batch, truth.task, truth.ignore).double().sum())
        sums.add(answer, batch.target, batch.mask)
        if distances:
            distances.add(answer, batch.target, batch.mask)
        if each:
            pictures += list(zip(batch.ids, _alone(answer, batch, truth), strict=True))
        if model.head.weight is not None:
            branches = model.head.branches(state, *size)
            for i, name in enumerate(branches.names):
                there = branches.weights[:, i] > 0
                made = branches.logits[there, i].float()
                streams.setdefault(name, truth.sums()).add(made, batch.target[there], batch.mask[there])
    scores = {"loss": loss / len(scenes), **sums.scores(classes=each), **(distances.scores() if distances else {})}
    for name, own in streams.items():
        if (found := own.scores().get(truth.main)) is not None:
            scores[f"{truth.main}_{name}"] = found
    tokens, channels = exchanges.shares(), exchanges.channels
    scores |= {f"exchanged_{name}": share for name, share in _of_streams(tokens).items()}
    scores |= {f"channels_{name}": share for name, share in _of_streams(channels).items()}
    confusion = sums.confusion.counts.tolist() if truth.task == "segment" else None
    return Scored(scores, confusion, tokens, channels, pictures)


def without(stream: str) -> Change:
    """Scenes without that stream."""
    return lambda _, scene: scene._replace(fields={n: x for n, x in scene.fields.items() if n != stream})


def with_hole(number: int, scene: Scene) -> Scene:
    """The scene with a rectangle gone from one of its streams, always the same for a number."""
    generator = torch.Generator().manual_seed(number)
    name = sorted(scene.fields)[int(torch.randint(len(scene.fields), (), generator=generator))]
    return scene._replace(fields={**scene.fields, name: holed(scene.fields[name], generator)})


def _batches(
    model: PixelModel, scenes: SceneDataset, ignore: int, batch_size: int, change: Change | None
) -> Iterator[SceneBatch]:
    device = next(model.parameters()).device
    for first in range(0, len(scenes), batch_size):
        numbers = range(first, min(first + batch_size, len(scenes)))
        chosen = [change(i, scenes[i]) if change else scenes[i] for i in numbers]
        yield moved(collate([read_by(model, scene) for scene in chosen], _channels(model), ignore), device)


def read_by(model: PixelModel, scene: Scene) -> Scene:
    """With the streams alone that the model reads."""
    return scene._replace(fields={name: x for name, x in scene.fields.items() if name in model.reads})


def _channels(model: PixelModel) -> dict[str, int]:
    return {name: model.streams[name] for name in model.reads}


def moved(batch: SceneBatch, device: torch.device) -> SceneBatch:
    """The batch on a device."""
    fields = {name: Field(x.to(device), mask.to(device)) for name, (x, mask) in batch.fields.items()}
    return batch._replace(fields=fields, target=batch.target.to(device), mask=batch.mask.to(device))


def _alone(answer: Tensor, batch: SceneBatch, truth: Truth) -> list[Scores]:
    found = []
    for i in range(len(batch.ids)):
        sums = truth.sums()
        sums.add(answer[i : i + 1], batch.target[i : i + 1], batch.mask[i : i + 1])
        found.append(sums.scores())
    return found


class _Exchanges:
    """Counts the tokens that were exchanged, of those that had a donor, by layer and stream; and keeps the shares of
    channels, which all batches have alike."""

    def __init__(self) -> None:
        self.counts: dict[str, list[float]] = {}
        self.channels: dict[str, float] = {}

    def add(self, state: PixelState) -> None:
        for name, (gone, could) in state.exchanged.items():
            count = self.counts.setdefault(name, [0.0, 0.0])
            count[0] += float(gone.double().sum())
            count[1] += float(could.sum())
        self.channels = {name: float(share) for name, share in state.channels.items()}

    def shares(self) -> dict[str, float]:
        """Of tokens."""
        return {name: gone / max(all, 1.0) for name, (gone, all) in self.counts.items()}


def _of_streams(layers: dict[str, float]) -> dict[str, float]:
    """Each stream's mean over its layers."""
    shares: dict[str, list[float]] = {}
    for name, share in layers.items():
        shares.setdefault(name.rpartition("@")[0], []).append(share)
    return {name: sum(each) / len(each) for name, each in shares.items()}
