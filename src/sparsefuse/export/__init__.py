"""Exports a run folder to a file that runs without this library: a checked graph, with a card that describes it."""

from sparsefuse.callable_package import make_callable

make_callable(__name__, f"{__name__}.artefact")
