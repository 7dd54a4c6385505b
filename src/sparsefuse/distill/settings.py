"""What a student is trained as, unless told: a teacher's run folder in, a configuration out. Needs no torch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sparsefuse.baseline import UNTRAINED
from sparsefuse.config import Config, Distill, differing
from sparsefuse.files.typed import plain
from sparsefuse.methods import BASELINE
from sparsefuse.runs.folder import RunFolder


def student_config(teacher: str | Path) -> Config:
    """The teacher's data, training and options, with the method sft; of a baseline, which is not trained, the training
    of its recipe. Raises FileNotFoundError for what is no run."""
    config = RunFolder(Path(teacher)).read(Config)
    if config.method == BASELINE:
        usual = Config.load(recipe=config.recipe).train
        config = replace(config, train=replace(config.train, **{name: getattr(usual, name) for name in UNTRAINED}))
    return replace(config, method=Config().method, distill=Distill())


def student_fields(teacher: str | Path) -> dict[str, Any]:
    """Those that differ from what its recipe sets, so that another recipe sets the rest."""
    config = student_config(teacher)
    return {**differing(plain(config), plain(Config.load(recipe=config.recipe))), "recipe": config.recipe}
