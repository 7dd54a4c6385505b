"""A small model taught by large ones: it learns from finished runs, within a budget of multiply-adds."""

from sparsefuse.callable_package import make_callable

make_callable(__name__, f"{__name__}.student")
