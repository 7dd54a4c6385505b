"""The files of a run on clouds: model.json before the first step; result.json and pictures.csv at the end."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sparsefuse.config import Config
from sparsefuse.cost.measure import measure_points
from sparsefuse.cost.points import SceneSize, count_points
from sparsefuse.data.points.scenes import CloudScenes
from sparsefuse.files.whole import write_text
from sparsefuse.model.points import DetectionModel
from sparsefuse.runs.folder import RunFolder, check_same_clips
from sparsefuse.runs.point_facts import PointFacts
from sparsefuse.runs.records import Cost, Result
from sparsefuse.runs.scoring import doubts
from sparsefuse.training.pixels.results import pictures_csv
from sparsefuse.training.points.scoring import Scored
from sparsefuse.training.position import Position
from sparsefuse.training.setup import environment

log = logging.getLogger(__name__)


def write_setup(
    folder: RunFolder, config: Config, scenes: CloudScenes, options: Mapping[str, Any], name: str, *, sees: bool
) -> None:
    """Writes config.json, env.json, model.json and skipped.jsonl. Raises ValueError, before it writes, if the run was
    started with other scenes or classes, or, where it `sees` any, other pictures."""
    shown = scenes.shown if sees else {}
    if folder.has(PointFacts):
        check_same_clouds(folder, scenes)
    points = config.points
    facts = PointFacts(
        task="detect",
        name=name,
        method=config.method,
        options=options,
        channels=scenes.channels,
        classes=scenes.classes,
        num_points=points.num_points,
        points=scenes.points,
        frames=points.frames,
        pictures=scenes.frames,
        size=scenes.size,
        height=points.height,
        width=points.width,
        clips=scenes.fingerprints,
        shown=shown,
    )
    folder.write_located(config)
    folder.write(environment(config.train.device, config.seed))
    folder.write_skips(scenes.skips)
    folder.write(facts)
    if scenes.skips:
        log.warning("%d scenes or pictures left out; %s names them", len(scenes.skips), folder.skip_list)


def check_same_clouds(folder: RunFolder, scenes: CloudScenes) -> None:
    """Raises ValueError if the run was started with other scenes or classes, or, where it saw any, other pictures."""
    before = folder.read(PointFacts)
    check_same_clips(before.clips, scenes.fingerprints, folder.path)
    before.check_shown(scenes.shown, folder.path)
    if before.classes != scenes.classes:
        raise ValueError(f"{folder.path} was started with other classes; give another folder")


def write_result(
    folder: RunFolder, config: Config, scenes: CloudScenes, name: str, at: Position, cost: Cost,
    valid: Scored | None, test: Scored | None,
) -> None:  # fmt: skip
    """Writes result.json, and pictures.csv before it; what makes the choice of the checkpoint doubtful is logged."""
    last, shown = folder.epochs()[-1], valid or test
    result = Result(
        method=config.method,
        name=name,
        seed=config.seed,
        fold=config.data.split.number,
        task="detect",
        classes=scenes.classes,
        data=config.data.manifest,
        epochs=last.epoch,
        best_epoch=at.best_epoch,
        seconds=last.seconds,
        valid=valid.scores if valid else {},
        test=test.scores if test else {},
        splits={split: len(part) for split, part in scenes.splits.items()},
        clips=scenes.fingerprints,
        skipped=len(scenes.skips),
        cost=cost,
        warnings=[*at.warnings, *doubts(folder.epochs(), at.best_epoch), *scenes.leaks],
        exchanged=(shown.exchanged or None) if shown else None,
    )
    for warning in result.warnings:
        log.warning("%s: %s", folder.path, warning)
    if test is not None:
        write_text(folder.pictures, pictures_csv(test.scenes))
    folder.write(result)


def scene_size(scenes: CloudScenes) -> SceneSize:
    """That of a usual training scene."""
    return SceneSize(scenes.points, scenes.frames, *scenes.size)


def cost_of(model: DetectionModel, size: SceneSize, *, measured: bool) -> Cost:
    """Cost of one scene of that size; latency and memory only if `measured`."""
    counted = count_points(model, size)
    lengths = {"points": size.points}
    if model.reads_pictures and size.frames:
        lengths["pictures"] = size.frames * size.rows * size.columns
    cost = Cost(
        gmacs=counted.total / 1e9,
        layers_gmacs=counted.layers / 1e9,
        paper_gmacs=counted.paper / 1e9,
        parameters=counted.parameters,
        lengths=lengths,
    )
    return replace(cost, **measure_points(model, size)._asdict()) if measured else cost
