"""Safe replacements for the functions and classes that a pickle of plain values names.

Nothing that a pickle names is ever imported or called; a name without a replacement is an error.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np


class Refused(Exception):
    """The pickle contains something other than plain values. The message names it, and an alternative."""


class Call(NamedTuple):
    """Stands for a function or class that a pickle may name."""

    name: str
    make: Callable[..., Any]


class Half:
    """An array or dtype that was constructed but has no state yet."""

    def __init__(self, finish: Callable[[Any], Any]) -> None:
        self.finish = finish
        self.keys: list[int] = []  # its places in the memo


def stand_in(module: str, name: str) -> Call:
    """Raises Refused for a name that plain values do not need."""
    full = f"{module}.{name}"
    if full not in _CALLS:
        refuse(full)
    return _CALLS[full]


def refuse(full: str) -> NoReturn:
    """Raises Refused, with the safe alternative where one is known."""
    hint = next((hint for start, hint in _HINTS.items() if full.startswith(start)), INSTEAD)
    raise Refused(
        f"refused, and nothing of it was run: it contains {full!r:.200}, not only arrays and plain values; {hint}"
    )


INSTEAD = "save what you need as .npy, .npz or .safetensors"
_HINTS = {
    "pandas.": "save the table as csv (table.to_csv), or its numbers with numpy.save",
    "torch.": "save tensors with numpy.save(file, tensor.numpy()) or with safetensors",
    "joblib.": "save arrays with numpy.save",
    "scipy.": "save it with numpy.save(file, matrix.toarray())",
    "collections.defaultdict": "save dict(it)",
}


def as_key(value: Any) -> Any:
    """A dictionary key or set member; the hash of a deeply nested tuple could take forever."""
    if isinstance(value, _SIMPLE) or (type(value) is tuple and all(isinstance(part, _SIMPLE) for part in value)):
        return value
    raise ValueError(f"a {type(value).__name__} as a key")


_SIMPLE = (str, bytes, int, float, complex, type(None), np.generic)


_DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|S[1-9]\d{0,8}|U[1-9]\d{0,8}|O8?|\?)")


def _dtype(text: Any, align: Any = False, copy: Any = True, *_: Any) -> Half:
    """numpy.dtype of one plain kind; its state is the byte order."""
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise Refused(f"holds an array of type {text!r}; expected numbers, truth values or text; {INSTEAD}")

    def finish(state: Any) -> np.dtype[Any]:
        order, parts = state[1], state[2:5]
        if order not in ("<", ">", "|", "=") or any(parts):
            raise Refused(f"holds an array whose values have fields ({text}); save each field as an array of its own")
        return np.dtype(text).newbyteorder(order)

    return Half(finish)


def _reconstruct(kind: Any, shape: Any, code: Any) -> Half:
    """An array, whole only with its state; classes other than numpy's are not among `_CALLS`."""
    return Half(_array)


def _array(state: Any) -> np.ndarray:
    """The array of a state (version, shape, dtype, whether columns come first, values)."""
    shape, dtype, fortran, values = state[-4:]
    if not isinstance(dtype, np.dtype):
        raise ValueError("an array without a type")
    return _shaped(values, dtype, shape, "F" if fortran else "C")


def _shaped(values: Any, dtype: np.dtype[Any], shape: Any, order: Any) -> np.ndarray:
    shape = (shape,) if isinstance(shape, int) else shape
    if type(shape) is not tuple or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"an array of shape {shape!r:.60}")
    count = math.prod(shape)
    if dtype.hasobject:
        if type(values) is not list or len(values) != count:
            raise ValueError(f"an array of shape {shape} with other values")
        flat = np.empty(count, object)
        for i, value in enumerate(values):  # at once, numpy would look into lists
            flat[i] = value
        return flat.reshape(shape)
    values = values.encode("latin-1") if isinstance(values, str) else values
    if len(values) != count * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} and type {dtype} with {len(values)} bytes")
    if not count:
        return np.empty(shape, dtype)
    return np.frombuffer(values, dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: Any, value: Any = "") -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise ValueError("a number without a type")
    return _shaped(value, dtype, (), "C")[()]


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes for Python 2."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in {encoding!r:.30}")
    return text.encode("latin-1")


def _bytes(value: Any = b"", encoding: str = "latin1") -> bytes:
    return _encode(value, encoding) if isinstance(value, str) else bytes(memoryview(value))


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    return {as_key(name): value for name, value in pairs}


def _class(*_: Any) -> NoReturn:
    raise ValueError("an array made in another way than numpy's")


_CALLS = {
    "numpy.ndarray": Call("numpy.ndarray", _class),
    "numpy.dtype": Call("numpy.dtype", _dtype),
    "_codecs.encode": Call("_codecs.encode", _encode),
    "collections.OrderedDict": Call("collections.OrderedDict", _ordered),
}
for _core in ("numpy.core", "numpy._core"):
    _CALLS[f"{_core}.multiarray._reconstruct"] = Call("_reconstruct", _reconstruct)
    _CALLS[f"{_core}.multiarray.scalar"] = Call("scalar", _scalar)
    _CALLS[f"{_core}.numeric._frombuffer"] = Call("_frombuffer", _shaped)
for _builtin in ("builtins", "__builtin__"):
    _CALLS[f"{_builtin}.set"] = Call("set", lambda values=(): set(map(as_key, values)))
    _CALLS[f"{_builtin}.frozenset"] = Call("frozenset", lambda values=(): frozenset(map(as_key, values)))
    _CALLS[f"{_builtin}.bytes"] = Call("bytes", _bytes)
    _CALLS[f"{_builtin}.bytearray"] = Call("bytearray", _bytes)
    _CALLS[f"{_builtin}.complex"] = Call("complex", lambda real, imag: float(real) + 1j * float(imag))
