"""What is drawn of a scene, and how training changes it: points, boxes and cameras move together.

Every draw is of one generator, and nothing of what was loaded is changed: an epoch starts where the first did.
"""

import math

import torch
from torch import Tensor

from sparsefuse.config.points import Points
from sparsefuse.data.points.sample import lengths_in
from sparsefuse.data.points.scenes import CloudScene


def sampled(scene: CloudScene, count: int, generator: torch.Generator) -> CloudScene:
    """With `count` of its points, drawn without replacement; all of a scene with fewer."""
    if len(scene.xyz) <= count:
        return scene
    chosen = torch.randperm(len(scene.xyz), generator=generator)[:count]
    return scene._replace(xyz=scene.xyz[chosen], x=scene.x[chosen])


def fixed(scene: CloudScene, count: int) -> CloudScene:
    """The same with the same points whenever it is asked, for scores and predictions."""
    return sampled(scene, count, torch.Generator().manual_seed(0))


def augment(scene: CloudScene, points: Points, generator: torch.Generator, *, dropout: float = 0.0) -> CloudScene:
    """The scene mirrored, turned, enlarged and jittered as `points` says. `dropout`: probability with which it loses
    all its pictures."""
    if points.flip and _draw(generator) < points.flip:
        scene = flipped(scene)
    if points.rotate:
        scene = turned(scene, math.radians(_draw(generator, -points.rotate, points.rotate)))
    if points.scale != (1.0, 1.0):
        scene = scaled(scene, _draw(generator, *points.scale), lengths_in(points.channels))
    if points.jitter:
        noise = torch.randn(scene.xyz.shape, generator=generator)
        scene = scene._replace(xyz=scene.xyz + points.jitter * noise)
    if dropout and _draw(generator) < dropout:
        scene = without_pictures(scene)
    return scene


def flipped(scene: CloudScene) -> CloudScene:
    """In a mirror at x = 0; its pictures are those that a camera there would take."""
    mirror = torch.diag(torch.tensor([-1.0, 1, 1, 1]))
    boxes = scene.boxes * torch.tensor([-1.0, 1, 1, 1, 1, 1, -1]) + torch.tensor([0.0] * 6 + [math.pi])
    pictures = [picture.flip(1) for picture in scene.pictures]
    return _moved(scene._replace(pictures=pictures, cameras=scene.cameras.flipped(), boxes=boxes), mirror)


def turned(scene: CloudScene, angle: float) -> CloudScene:
    """About the vertical through 0, counter-clockwise seen from above, in radians."""
    c, s = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    boxes = torch.cat([scene.boxes[:, :3] @ turn[:3, :3].T, scene.boxes[:, 3:6], scene.boxes[:, 6:] + angle], 1)
    return _moved(scene._replace(boxes=boxes), turn)


def scaled(scene: CloudScene, factor: float, lengths: Tensor) -> CloudScene:
    """All lengths from 0 times the factor. `lengths` (F) bool: which of the points' channels are some."""
    scale = torch.diag(torch.tensor([factor, factor, factor, 1.0]))
    boxes = scene.boxes * torch.tensor([factor] * 6 + [1.0])
    return _moved(scene._replace(boxes=boxes, x=torch.where(lengths, scene.x * factor, scene.x)), scale)


def without_pictures(scene: CloudScene) -> CloudScene:
    """Its cloud alone."""
    return with_frames(scene, 0)


def with_frames(scene: CloudScene, count: int) -> CloudScene:
    """With its first pictures alone."""
    return scene._replace(
        pictures=scene.pictures[:count], cameras=type(scene.cameras)(*(p[:count] for p in scene.cameras))
    )


def _moved(scene: CloudScene, transform: Tensor) -> CloudScene:
    return scene._replace(xyz=scene.xyz @ transform[:3, :3].T, cameras=scene.cameras.moved(transform))


def _draw(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
