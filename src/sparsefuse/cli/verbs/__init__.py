"""The verbs of the command line: a function each, one per stage. Heavy imports stay inside, so that --help is quick."""

from collections.abc import Callable

from sparsefuse.cli.verbs.adapting import distill, ensemble, finetune, pull, push, remember
from sparsefuse.cli.verbs.data import check, demo, export_features, extract, generate, generate_rooms, prepare, recipes
from sparsefuse.cli.verbs.studies import ablate, budget, compare, cost, search_views, study
from sparsefuse.cli.verbs.training import eval, fit, report, train
from sparsefuse.cli.verbs.using import env, explain, export, predict, serve

GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "start here": (demo, fit, predict, serve),
    "data": (prepare, generate, generate_rooms, check, extract, export_features),
    "training and comparing": (train, compare, ablate, budget, distill, ensemble, study, search_views),
    "looking at runs": (report, eval, explain, cost),
    "sharing and devices": (export, finetune, remember, push, pull, env),
}
"""Purpose -> its verbs, as --help lists them."""
VERBS: dict[str, Callable[..., None]] = {
    verb.__name__.replace("_", "-"): verb for verbs in GROUPS.values() for verb in verbs
}
WITH_CONFIG = ("extract", "check", "export-features", "train", "compare", "ablate", "study", "budget", "search-views",
               "distill")  # fmt: skip
LIMITED = ("check", "export-features", "fit", "train", "eval", "compare", "ablate", "study", "budget", "search-views",
           "explain", "export", "distill", "finetune", "remember")  # fmt: skip
"""Verbs that read what a manifest names, with the options --offline and --roots; extract and predict have their own,
which cost single clips."""
GRIDS = ("compare", "ablate", "study", "budget", "search-views")
"""Verbs that fill the folder `out` with runs."""
POSITIONAL = {
    "prepare": ("data_set", "source"),
    "extract": ("manifest",),
    "fit": ("source",),
    "eval": ("run",),
    "report": ("folder",),
    "predict": ("run", "files"),
    "explain": ("run", "clip"),
    "export": ("run",),
    "serve": ("run",),
    "distill": ("teachers",),
    "ensemble": ("runs",),
    "finetune": ("run", "clips"),
    "remember": ("run",),
    "push": ("run", "target"),
    "pull": ("source", "out"),
}
"""The positional arguments of each verb."""
MANY = ("files", "runs", "teachers")
"""Those that may be several."""
GUIDES: dict[str, Callable[[str], str]] = {"prepare": recipes}
"""Text of --help below the options, from the first word after the verb."""
