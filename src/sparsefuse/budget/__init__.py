"""A budget in place of a guess: it finds method options that keep it, and trains the best of them."""

from sparsefuse.callable_package import make_callable

make_callable(__name__, f"{__name__}.search")
