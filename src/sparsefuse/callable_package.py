"""A package that is a function, too: `sparsefuse.export` is a folder of modules, and what one calls."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def make_callable(package: str, home: str) -> None:
    """Calls of `package` are those of the function of its name in the module `home`, which the first one imports."""

    class CallablePackage(ModuleType):
        @property
        def __wrapped__(self) -> Any:
            """The function: `inspect.signature` and editors find it by this name."""
            return getattr(import_module(home), package.rpartition(".")[2])

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.__wrapped__(*args, **kwargs)

    sys.modules[package].__class__ = CallablePackage
