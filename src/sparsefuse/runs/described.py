"""The care with which a model is built that a file describes, whatever it says: nothing large comes to be, and errors
are one sentence."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch.nn.modules import module as registry

Shapes = Mapping[str, tuple[int, ...]]


def check_shapes(stored: Shapes, expected: Shapes) -> None:
    """Raises ValueError, naming the first, unless the weights of a file are those of the model that is described."""
    for name in sorted(expected.keys() | stored.keys()):
        if expected.get(name) != stored.get(name):
            raise ValueError(
                f"model.safetensors does not hold the model that model.json describes: {name} has shape "
                f"{stored.get(name, 'none')}, expected {expected.get(name, 'none')}"
            )


@contextmanager
def one_sentence() -> Iterator[None]:
    """Whatever options of the wrong kind lead to, in the code that they are given to, is a ValueError."""
    try:
        yield
    except (ValueError, TypeError, LookupError, RuntimeError, AttributeError, ArithmeticError) as error:
        reason = str(error).strip().split("\n")[0][:300]
        raise ValueError(f"model.json does not describe a model that can be built: {reason}") from error


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """No more than `count` parameters and buffers are registered inside, on any module, and twice as many modules.

    Raises ValueError at the first one too many: a depth of a billion must not be built.
    """
    counts = {"weights": 0, "modules": 0}

    def weight(*_: object) -> None:
        counts["weights"] += 1
        if counts["weights"] > count:
            raise ValueError(f"it has far more weights than model.safetensors ({count} is enough)")

    def part(*_: object) -> None:
        counts["modules"] += 1
        if counts["modules"] > 100 + 20 * count:
            raise ValueError("it has far more modules than the weights in model.safetensors need")

    hooks = [
        registry.register_module_parameter_registration_hook(weight),
        registry.register_module_buffer_registration_hook(weight),
        registry.register_module_module_registration_hook(part),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
