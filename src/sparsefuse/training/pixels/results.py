"""The files of a run on pictures: model.json before the first step; result.json and pictures.csv at the end."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sparsefuse.config import Config
from sparsefuse.config.pixels import Pixels
from sparsefuse.cost.count import count_pixel_model
from sparsefuse.cost.measure import measure_pixels
from sparsefuse.data.pixels.scenes import Scenes
from sparsefuse.files.whole import write_text
from sparsefuse.model.pixels import PixelModel
from sparsefuse.runs.folder import RunFolder, check_same_clips
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.records import Cost, Result, Scores
from sparsefuse.runs.scoring import doubts
from sparsefuse.training.pixels.scoring import Scored
from sparsefuse.training.position import Position
from sparsefuse.training.setup import environment

log = logging.getLogger(__name__)


def write_setup(folder: RunFolder, config: Config, scenes: Scenes, options: Mapping[str, Any], name: str) -> None:
    """Writes config.json, env.json, model.json and skipped.jsonl. Raises ValueError, before it writes, if the run was
    started with other scenes or classes."""
    if folder.has(PixelFacts):
        check_same_scenes(folder, scenes)
    pixels = config.pixels
    facts = PixelFacts(
        task="segment" if config.data.task == "segment" else "translate",
        name=name,
        method=config.method,
        options=options,
        streams=scenes.streams,
        channels=scenes.channels,
        classes=scenes.classes,
        outputs=scenes.outputs,
        target=scenes.target,
        ignore=pixels.ignore,
        size=scenes.size,
        height=pixels.height,
        width=pixels.width,
        clips=scenes.fingerprints,
        depths=_depths(scenes),
        guessed=[name for name, one in scenes.streams.items() if one.kind == "depth" and not _stated(pixels, name)],
    )
    folder.write_located(config)
    folder.write(environment(config.train.device, config.seed))
    folder.write_skips(scenes.skips)
    folder.write(facts)
    if scenes.skips:
        log.warning("%d samples or streams left out; %s names them", len(scenes.skips), folder.skip_list)


def check_same_scenes(folder: RunFolder, scenes: Scenes) -> None:
    """Raises ValueError if the run was started with other scenes or classes."""
    before = folder.read(PixelFacts)
    check_same_clips(before.clips, scenes.fingerprints, folder.path)
    if before.classes != scenes.classes or before.channels != scenes.channels:
        raise ValueError(f"{folder.path} was started with other classes or streams; give another folder")


def _stated(pixels: Pixels, name: str) -> bool:
    """Whether the configuration has the unit of a stream."""
    return name in pixels.streams and bool(pixels.streams[name].unit)


def _depths(scenes: Scenes) -> tuple[float, float]:
    """The nearest and farthest metres of the pictures that are translated to, if these are of depth."""
    if scenes.target.kind != "depth" or scenes.classes:
        return 0.0, 1.0
    middle, half = (float(part) for part in scenes.target_stats)
    return middle - half, middle + half


def write_result(
    folder: RunFolder, config: Config, scenes: Scenes, name: str, at: Position, cost: Cost,
    valid: Scored | None, test: Scored | None,
) -> None:  # fmt: skip
    """Writes result.json, and pictures.csv before it; what makes the choice of the checkpoint doubtful is logged."""
    last, shown = folder.epochs()[-1], valid or test
    result = Result(
        method=config.method,
        name=name,
        seed=config.seed,
        fold=config.data.split.number,
        task="segment" if config.data.task == "segment" else "translate",
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
        confusion=test.confusion if test else None,
        exchanged=(shown.exchanged or None) if shown else None,
        channels=(shown.channels or None) if shown else None,
    )
    for warning in result.warnings:
        log.warning("%s: %s", folder.path, warning)
    if test is not None:
        write_text(folder.pictures, pictures_csv(test.pictures))
    folder.write(result)


def cost_of(model: PixelModel, size: tuple[int, int], *, measured: bool) -> Cost:
    """Cost of one scene of that size; latency and memory only if `measured`."""
    counted = count_pixel_model(model, *size)
    cost = Cost(
        gmacs=counted.total / 1e9,
        layers_gmacs=counted.layers / 1e9,
        paper_gmacs=counted.paper / 1e9,
        parameters=counted.parameters,
        lengths=dict.fromkeys(model.reads, size[0] * size[1]),
    )
    return replace(cost, **measure_pixels(model, *size)._asdict()) if measured else cost


def pictures_csv(pictures: Sequence[tuple[str, Scores]]) -> str:
    """One line per test picture: its id and scores; empty where it has none."""
    names = list(dict.fromkeys(name for _, scores in pictures for name in scores))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", *names])
    for id, scores in pictures:
        writer.writerow([id, *(f"{scores[name]:.6f}" if name in scores else "" for name in names)])
    return text.getvalue()
