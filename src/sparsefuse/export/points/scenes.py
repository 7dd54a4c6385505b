"""The scenes that an exported detector is checked on: those of the run, of a manifest, or rooms of noise."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.config import Config
from sparsefuse.cost.points import SceneSize, random_rooms
from sparsefuse.data.kept import Kept
from sparsefuse.data.manifest import GROUP
from sparsefuse.data.points.augment import fixed
from sparsefuse.data.points.dataset import CloudFiles
from sparsefuse.data.points.load import open_clouds
from sparsefuse.data.points.scenes import PICTURES, CloudScene
from sparsefuse.export.points.program import PointProgram
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.points.predictor import PointPredictor
from sparsefuse.layers.points.nouns import Camera
from sparsefuse.runs.folder import RunFolder

log = logging.getLogger(__name__)

MOST_REAL = 16
"""scenes of the data: a graph is wrong for all or for none"""


class ParityScenes(NamedTuple):
    """Scenes, and where they come from."""

    source: str
    """a description for the card"""
    scenes: list[CloudScene]
    real: bool


def of_data(
    run: Path, predictor: PointPredictor, program: PointProgram, *, split: str = "valid", manifest: Path | None = None
) -> ParityScenes:
    """Scenes of a split of the run's own data, or of all rows of a manifest, whose pictures have the size of the
    exported model; none if the data is missing."""
    config = RunFolder(run).read(Config)
    if manifest is not None:
        config = replace(config, data=replace(config.data, manifest=str(manifest), group=GROUP))
    try:
        opened = open_clouds(config, Path(), divided=manifest is None)
    except FileNotFoundError as error:
        if manifest is not None:
            raise
        log.warning("the run's data is not here (%s): checked on noise; for real scenes give --manifest", error)
        return ParityScenes("", [], real=True)
    rows = opened.manifest.rows if manifest is not None else opened.rows[split]
    facts = predictor.facts
    reader = predictor.reader(opened.manifest.root)
    reader = replace(reader, points=replace(config.points, **{
        name: getattr(reader.points, name) for name in ("channels", "num_points", "frames", "height", "width")
    }))  # fmt: skip
    scenes = []
    for row in rows:
        try:
            scene = CloudFiles([row], reader, facts.classes, predictor.stats, Kept(0))[0]
        except (Unusable, KeyError):  # a class that the run does not know
            continue
        if all(tuple(picture.shape[:2]) == program.size for picture in scene.pictures):
            scenes.append(fixed(scene, facts.num_points))
        if len(scenes) == MOST_REAL:
            break
    what = f"of {manifest.name}" if manifest is not None else f"of the run's {split} split"
    return ParityScenes(f"{len(scenes)} {what}", scenes, real=True)


def noise(predictor: PointPredictor, program: PointProgram) -> ParityScenes:
    """Rooms of noise: with all points and pictures, with a third of the points, and without pictures."""
    facts, model = predictor.facts, predictor.model
    size = SceneSize(facts.num_points, program.frames, *program.size)
    given = random_rooms(model, size, 1)
    camera = Camera(torch.zeros(0, 3, 3), torch.zeros(0, 4, 4), torch.zeros(0, 2, dtype=torch.long))
    pictures = [] if given.pictures is None else list(given.pictures[0])
    if given.cameras is not None:
        camera = Camera(*(part[0] for part in given.cameras))
    whole = CloudScene("noise", given.cloud.xyz[0], given.cloud.x[0], pictures, camera, torch.zeros(0, 7),
                       torch.zeros(0, dtype=torch.long))  # fmt: skip
    few = whole._replace(xyz=whole.xyz[::3], x=whole.x[::3])
    blind = whole._replace(pictures=[], cameras=Camera(*(part[:0] for part in camera)))
    scenes = [whole, few, *([blind] if pictures else [])]
    return ParityScenes(f"{len(scenes)} rooms of noise, with fewer points and without pictures too", scenes, real=False)


def arguments(scene: CloudScene, program: PointProgram, stats: dict[str, tuple[Tensor, Tensor]]) -> list[Tensor]:
    """What the exported model takes of a scene: pictures as they were before normalising, padding where it has less."""
    mean, std = stats[PICTURES]
    count = len(scene.xyz)
    given: dict[str, Tensor] = {}
    for one in program.inputs:
        given[one.name] = torch.zeros(one.shape, dtype=torch.bool if one.type == "bool" else torch.float32)
    given["xyz"][0, :count], given["mask"][0, :count] = scene.xyz, True
    if program.width:
        given["channels"][0, :count] = scene.x
    for i, picture in enumerate(scene.pictures[: program.frames]):
        given["pictures"][i], given["shown"][i] = picture * std + mean, True
        given["K"][i], given["pose"][i] = scene.cameras.K[i], scene.cameras.pose[i]
    return [given[one.name] for one in program.inputs]
