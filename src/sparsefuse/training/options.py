"""The options of a run's method: those of the configuration that it has, whatever its task."""

from typing import Any

from sparsefuse.config import Config
from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.methods import option_names, pixels, points


def options_of(config: Config) -> dict[str, Any]:
    """The options for this run's method: those under its name, and those of `all` that it has."""
    task = config.data.task
    names = pixels.option_names if task in PIXEL_TASKS else points.option_names if task in POINT_TASKS else None
    known = (names or option_names)(config.method)
    shared = {name: value for name, value in config.options.get("all", {}).items() if name in known}
    return {**shared, **config.options.get(config.method, {})}
