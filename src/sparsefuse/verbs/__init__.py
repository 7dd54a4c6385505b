"""The verbs of the command line: a function each, one per stage. Heavy imports stay inside, so that --help is quick."""

from collections.abc import Callable

from sparsefuse.verbs.data import check, demo, extract, generate, prepare
from sparsefuse.verbs.studies import ablate, budget, compare, cost, search_views, study
from sparsefuse.verbs.training import eval, report, train
from sparsefuse.verbs.using import explain, predict, serve

_DATA = (demo, prepare, generate, extract, check)
_RUNS = (train, eval, report, compare, ablate, study, budget, search_views, cost)
_USE = (predict, explain, serve)
VERBS: dict[str, Callable[..., None]] = {verb.__name__.replace("_", "-"): verb for verb in (*_DATA, *_RUNS, *_USE)}
WITH_CONFIG = ("extract", "check", "train", "compare", "ablate", "study", "budget", "search-views")
POSITIONAL = {
    "prepare": ("data_set", "source"),
    "extract": ("manifest",),
    "eval": ("run",),
    "report": ("folder",),
    "predict": ("run", "files"),
    "explain": ("run", "clip"),
    "serve": ("run",),
}
"""The arguments of a verb that are given by place."""
