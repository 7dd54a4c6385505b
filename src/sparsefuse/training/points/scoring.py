"""The scores of a detector: scenes in; average precisions, the loss, and shares exchanged, out."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from sparsefuse.data.points.augment import fixed
from sparsefuse.data.points.batches import collate
from sparsefuse.data.points.scenes import CloudBatch, CloudDataset, CloudScene
from sparsefuse.layers.points.nouns import Boxes, Camera, Cloud
from sparsefuse.layers.points.state import SceneState
from sparsefuse.layers.points.targets import owners
from sparsefuse.metrics.points import DetectionScores
from sparsefuse.model.points import DetectionModel
from sparsefuse.runs.records import Scores

Change = Callable[[CloudScene], CloudScene]


@dataclass
class Scored:
    """Of one split."""

    scores: Scores
    """loss, the mean over scenes, map25, map50; with every class ap25_<class>, ap50_<class>; `exchanged_<layer>`, and
    `exchanged_objects_<layer>`, the same of seeds within true boxes"""
    exchanged: dict[str, float] = field(default_factory=dict)
    """layer, from 1 -> share of the seeds that some picture shows which it replaced"""
    scenes: list[tuple[str, Scores]] = field(default_factory=list)
    """id -> its own map25 and map50"""


@torch.inference_mode()
def score(
    model: DetectionModel,
    scenes: CloudDataset,
    classes: list[str],
    num_points: int,
    batch_size: int,
    *,
    change: Change | None = None,
    each: bool = False,
) -> Scored:
    """The scores of a split, one batch in memory at a time: every candidate is scored for every class. `change` is made
    to each scene first; `each`: those of every class and scene, too."""
    model.eval()
    whole, alone, exchanges, loss = DetectionScores(classes), list[tuple[str, Scores]](), Exchanges(), 0.0
    for batch in _batches(model, scenes, num_points, batch_size, change):
        outputs = model(batch.cloud, batch.pictures, batch.cameras)
        for i in range(len(batch.ids)):  # one by one: the loss of a batch depends on what is in it
            known = Boxes(*(part[i : i + 1] for part in batch.boxes))
            loss += float(model.losses(outputs.of_scene(i), known)["loss"].double())
        exchanges.add(outputs.state, batch.boxes)
        found = model.boxes(outputs, every_class=True)
        whole.update(found, batch.boxes)
        if each:
            alone += [(id, _alone(classes, found, batch.boxes, i)) for i, id in enumerate(batch.ids)]
    scores = {name: value for name, value in whole.compute().items() if each or name in ("map25", "map50")}
    layers = _shares(exchanges.everywhere)
    shares = {f"exchanged_{name}": share for name, share in layers.items()}
    shares |= {f"exchanged_objects_{name}": share for name, share in _shares(exchanges.objects).items()}
    return Scored({"loss": loss / len(scenes), **_finite(scores), **shares}, layers, alone)


def _batches(
    model: DetectionModel, scenes: CloudDataset, num_points: int, batch_size: int, change: Change | None
) -> Iterator[CloudBatch]:
    device = next(model.parameters()).device
    for first in range(0, len(scenes), batch_size):
        chosen = [fixed(scenes[i], num_points) for i in range(first, min(first + batch_size, len(scenes)))]
        yield moved(collate([change(scene) for scene in chosen] if change else chosen), device)


def moved(batch: CloudBatch, device: torch.device) -> CloudBatch:
    """The batch on a device."""
    pictures, cameras = batch.pictures, batch.cameras
    return batch._replace(
        cloud=Cloud(*(part.to(device) for part in batch.cloud)),
        pictures=None if pictures is None else pictures.to(device),
        cameras=None if cameras is None else Camera(*(part.to(device) for part in cameras)),
        boxes=Boxes(*(part.to(device) for part in batch.boxes)),
    )


def _alone(classes: list[str], found: Boxes, known: Boxes, scene: int) -> Scores:
    one = DetectionScores(classes)
    one.update(*(Boxes(*(part[scene : scene + 1] for part in boxes)) for boxes in (found, known)))
    scores = one.compute()
    return _finite({name: scores[name] for name in ("map25", "map50")})


def _finite(scores: Scores) -> dict[str, float]:
    """Without those that there are not: of scenes without boxes."""
    return {name: value for name, value in scores.items() if math.isfinite(value)}


class Exchanges:
    """Counts the seeds that were replaced, and those that could be, by layer: everywhere, and within true boxes."""

    def __init__(self) -> None:
        self.everywhere: dict[str, list[float]] = {}
        self.objects: dict[str, list[float]] = {}

    def add(self, state: SceneState, known: Boxes) -> None:
        if not state.exchanges:
            return
        within = owners(state.seeds, known, margin=0.0).inside
        for layer, (_, replaced, could) in enumerate(state.exchanges, 1):
            for counts, where in ((self.everywhere, could), (self.objects, could & within)):
                count = counts.setdefault(str(layer), [0.0, 0.0])
                count[0] += float((replaced & where).sum())
                count[1] += float(where.sum())


def _shares(counts: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: gone / max(all, 1.0) for name, (gone, all) in counts.items()}
