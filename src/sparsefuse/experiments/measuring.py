"""Measures finished runs: run folders in; latency and memory in their result.json out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sparsefuse.config import Config, Split
from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.cost import measure as measuring
from sparsefuse.cost.points import SceneSize
from sparsefuse.parallel.devices import device_of
from sparsefuse.runs.folder import NAMES, RunFolder
from sparsefuse.runs.pixel_weights import load_pixel_model
from sparsefuse.runs.point_weights import load_point_model
from sparsefuse.runs.records import ENSEMBLE, ModelFacts, Result
from sparsefuse.runs.weights import load_model


def remeasure(folder: Path, *, trust_code: bool = False) -> None:
    """Measures all finished runs at or below `folder` anew, on the device that they were trained on.

    Raises FileNotFoundError if there is none, ValueError for a method that is a .py file unless `trust_code`.
    """
    runs = [RunFolder(path.parent) for path in sorted(folder.rglob(NAMES[Result]))]
    if not runs:
        raise FileNotFoundError(f"no finished run in {folder}; expected a run folder, or a folder of them")
    for run in runs:
        if run.task in (*PIXEL_TASKS, *POINT_TASKS):
            continue
        for model in run.read(ModelFacts).models:
            if model.method.endswith(".py") and not trust_code:
                raise ValueError(f"{run.path} needs the code in {model.method}; read it, then give --trust-code")
    measure_runs(runs, runs[0].read(Config).train.device, again=True)


def measure_runs(runs: Sequence[RunFolder], device: str, *, again: bool = False) -> None:
    """Latency and memory, once per model; the runs that differ from it in seed or split get the same figures. Runs that
    have them keep them, unless `again`."""
    fields = measuring.Measured._fields
    results = [run.read(Result) for run in runs]
    models = [_model(run, result) for run, result in zip(runs, results, strict=True)]
    measured = {
        model: {field: getattr(result.cost, field) for field in fields}
        for model, result in reversed([*zip(models, results, strict=True)])
        if result.cost.latency_ms is not None and not again
    }
    for run, model, result in zip(runs, models, results, strict=True):
        if result.cost.latency_ms is not None and not again:
            continue
        if model not in measured:
            measured[model] = _measured(run, device_of(device))._asdict()
        run.write(replace(result, cost=replace(result.cost, **measured[model])))


def _model(run: RunFolder, result: Result) -> str:
    """Equal for runs that differ in seed or split alone: several experiments may have runs of one name."""
    config = run.read(Config)
    config = replace(config, seed=0, data=replace(config.data, split=Split()))
    members = run.read(ModelFacts).members if config.method == ENSEMBLE else None
    return repr((result.name, config, members, result.finetune))


def _measured(run: RunFolder, device: str) -> measuring.Measured:
    if run.task in PIXEL_TASKS:
        facts, model, *_ = load_pixel_model(run)
        return measuring.measure_pixels(model.to(device), *facts.size)
    if run.task in POINT_TASKS:
        facts, model, _ = load_point_model(run)
        return measuring.measure_points(model.to(device), SceneSize(facts.points, facts.pictures, *facts.size))
    facts, model, _ = load_model(run)
    return measuring.measure(model.to(device), facts.typical)
