"""The SFT paper's study on any data: experiments in, runs, statistics, claims and one page out."""

from sparsefuse.callable_package import make_callable

make_callable(__name__, f"{__name__}.conduct")
