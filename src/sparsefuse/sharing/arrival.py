"""Checks a downloaded run before it is used; raises ValueError for anything unsafe or inconsistent.

Nothing in it is executed, and nothing is allocated before its size is known: model.json is checked against its schema,
the model is built on the meta device, no larger than the header of the weights, and its multiply-adds are counted.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.nn.modules import module as registry

from sparsefuse.config import Config
from sparsefuse.cost import count
from sparsefuse.data.stats import Stats
from sparsefuse.features import resolve
from sparsefuse.files import checkpoint
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Calibration, Environment, ModelFacts, Result
from sparsefuse.runs.weights import build_model
from sparsefuse.sharing.parcel import CARD
from sparsefuse.sharing.schema import check_model

MOST_GMACS = 10_000
"""multiply-adds in 1e9 that a clip of typical length may cost: more than any published video model's"""


def check_run(folder: Path, names: list[str]) -> None:
    """Raises ValueError, saying what, where, got and expected, if `folder` holds no run that can be used safely.

    `names` are the files to check, which must be plain files of allowed size (see `parcel`).
    """
    run = RunFolder(folder)
    for name in names:
        if name.endswith(".safetensors"):
            checkpoint.shapes(folder / name)
        elif name == CARD:
            _check_text(folder / name)
    try:
        facts = run.read(ModelFacts)
        for kind in (Config, Environment, Calibration, Result):
            run.get(kind)
        run.epochs()
    except ValueError as error:
        raise ValueError(str(error).replace(f"{folder}{os.sep}", "")) from error  # the temporary folder does not help
    check_model(facts)
    for name, spec in facts.extractors.items():
        options = {key: value for key, value in spec.items() if key not in ("extractor", "source")}
        try:
            resolve(spec["extractor"], options)
        except ValueError as error:
            raise ValueError(f"model.json: extract.features.{name}: {error}") from error
    _check_weights(facts, checkpoint.shapes(run.weights))
    for name in names:
        if name.endswith(".safetensors"):
            Stats.from_tensors(checkpoint.load(folder / name).tensors)


def _check_weights(facts: ModelFacts, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError unless the weights fit the model of model.json, and a clip costs at most `MOST_GMACS`."""
    stored = {name.removeprefix("model/"): shape for name, shape in shapes.items() if name.startswith("model/")}
    with torch.device("meta"), _at_most(100 + 2 * len(stored)):  # without memory; stops if it is far larger
        model = build_model(facts)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if facts.normalised:
        statistics = {f"{kind}/{name}": (width,) for name, width in facts.features.items() for kind in ("mean", "std")}
        expected |= statistics
        stored |= {name: shapes[name] for name in statistics if name in shapes}
    for name in sorted(expected.keys() | stored.keys()):
        if expected.get(name) != stored.get(name):
            raise ValueError(
                f"model.safetensors does not hold the model that model.json describes: {name} has shape "
                f"{stored.get(name, 'none')}, expected {expected.get(name, 'none')}"
            )
    lengths = {name: facts.resample.get(name, length) for name, length in facts.lengths.items()}
    if facts.max_length:
        lengths = {name: min(length, facts.max_length) for name, length in lengths.items()}
    gmacs = count.total(model, {name: lengths[name] for name in model.modalities}) / 1e9
    if gmacs > MOST_GMACS:
        raise ValueError(f"model.json: one clip would cost {gmacs:,.0f} GMACs; expected {MOST_GMACS:,} at most")


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """No more than `count` parameters and buffers are registered inside, on any module, and twice as many modules.

    Raises ValueError at the first one too many: a depth of a billion must not be built.
    """
    counts = {"weights": 0, "modules": 0}

    def weight(*_: object) -> None:
        counts["weights"] += 1
        if counts["weights"] > count:
            raise ValueError(f"it has far more weights than model.safetensors ({count} is enough)")

    def part(*_: object) -> None:
        counts["modules"] += 1
        if counts["modules"] > 100 + 20 * count:
            raise ValueError("it has far more modules than the weights in model.safetensors need")

    hooks = [
        registry.register_module_parameter_registration_hook(weight),
        registry.register_module_buffer_registration_hook(weight),
        registry.register_module_module_registration_hook(part),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_text(path: Path) -> None:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text (byte {error.start})") from error
