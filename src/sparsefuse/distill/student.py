"""`sparsefuse distill`: finished runs and a budget in; a model within it, trained on what they say, out."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sparsefuse.budget.limits import BudgetLimits, Prices
from sparsefuse.budget.proposals import affordable
from sparsefuse.checks import check_config, check_one_test_split
from sparsefuse.config import Config, ConfigLike
from sparsefuse.data.clips import load_clips
from sparsefuse.distill.settings import student_config
from sparsefuse.parallel.devices import device_of
from sparsefuse.training.options import options_of
from sparsefuse.training.train import train

log = logging.getLogger(__name__)


def distill(
    teachers: Sequence[str | Path],
    out: str | Path = "runs/distilled",
    *,
    gmacs: float | None = None,
    config: ConfigLike = None,
    root: str | Path = "",
    resume: bool = False,
    measured: bool = True,
    **fields: object,
) -> Path:
    """Trains a student on what finished runs say of its clips, beside their labels; writes and returns its run folder.

    `config` and `fields` are what `Config.load` takes; without `config` it is the first teacher's, with the method sft.
    `distill={"temperature": 3}` changes how it learns. If a clip costs more than `gmacs` (multiply-adds in 1e9), its
    options are the first ones within, on the line from those configured to the cheapest, on which `budget` begins. The
    rest is as in `train`. Raises what `train` raises; ValueError without a teacher, or if no model is within `gmacs`.
    """
    if not teachers:
        raise ValueError("no teacher given; expected run folders")
    config = Config.load(student_config(teachers[0]) if config is None else config, **fields)
    config = replace(config, distill=replace(config.distill, teachers=[str(teacher) for teacher in teachers]))
    check_config(config)
    check_one_test_split(config)
    if gmacs is not None:
        config = within(config, gmacs, Path(root))
    return train(config, out, root=root, resume=resume, measured=measured, name=f"{Path(config.method).stem} distilled")


def within(config: Config, gmacs: float, root: Path = Path()) -> Config:
    """With options whose model costs `gmacs` at most; as it is if they are within."""
    limits = BudgetLimits(gmacs)
    limits.check()
    clips, configured = load_clips(config.data, root), options_of(config)
    with tempfile.TemporaryDirectory() as folder:
        prices = Prices(limits, clips, device_of(config.train.device), Path(folder) / "candidates.jsonl")
        before = prices.of(config.method, configured)
        if limits.kept(before):
            return config
        spaces, starts = affordable({config.method: configured}, prices)
        options = spaces[config.method].options(starts[0][1])
        costs = prices.of(config.method, options)
    changed = ", ".join(f"{name} {value}" for name, value in options.items() if configured.get(name) != value)
    log.info("%s costs %s; with %s, %s", config.method, limits.say(before), changed, limits.say(costs))
    return replace(config, options={**config.options, config.method: options})
