"""Reads numpy arrays and plain values from a pickle file without running any of its code.

A pickle is a program for a small stack machine. The machine here has the instructions that build plain values, and
`stand_ins` has the few functions that pickles of numpy and plain Python call. Anything else is an error with its name.
Python's `pickle` is not used. Large arrays are views of the memory-mapped file: they cost no memory until
they are read.
"""

import codecs
import mmap
import pickletools
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from sparsefuse.data.stand_ins import INSTEAD, Call, Half, Refused, as_key, refuse, stand_in
from sparsefuse.files.declared import OPTION, beyond
from sparsefuse.shown import said

LARGE = 1 << 16
"""Bytes from which a value is a view of the file."""
_STEP = 100
"""Bytes that an instruction takes, about: a number, a place in a list or in the memo."""


def read_pickle(path: str | Path) -> Any:
    """The value of a pickle: dict, list, tuple, set, str, bytes, numbers, None, numpy arrays and numpy scalars.

    Strings of Python 2 come as str, one character a byte; an OrderedDict comes as a dict; arrays are read-only, and
    bytes from `LARGE` on are memoryviews. Raises FileNotFoundError, or ValueError for a pickle that contains anything
    else (named, with the safe alternative), is truncated or is not a pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"pickle {path} not found")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty (0 bytes)")
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for magic, kind in _OTHERS.items():
        if content[: len(magic)] == magic:
            raise ValueError(f"{path}: is {kind}, not a pickle")
    try:
        return _Machine(content).run()
    except Refused as error:
        raise ValueError(f"{path}: {error}") from error
    except MemoryError as error:
        raise ValueError(f"{path}: needs more memory than there is; it holds {path.stat().st_size:,} bytes") from error
    except _BROKEN as error:
        raise ValueError(f"{path}: truncated, or not a pickle ({said(error)} before byte {content.tell()})") from error


_OPS = {op.code: op for op in pickletools.opcodes}
_OTHERS = {
    b"PK\x03\x04": "a zip archive or what torch.save writes (save arrays with numpy.save or safetensors)",
    b"\x1f\x8b": "compressed with gzip (unpack it with gunzip)",
    b"\x93NUMPY": "a .npy file",
    b"\x89HDF": "an HDF5 file",
}

# What malformed instructions raise in the machine, in `pickletools` and in numpy.
_BROKEN = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError, struct.error)


class _Machine:
    """Runs the instructions of a pickle, as far as they build plain values."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.halves = 0
        self.left = len(content) + beyond()

    def run(self) -> Any:
        while True:
            self.spend(_STEP)
            op = _OPS[self.content.read(1).decode("latin-1")]
            name = op.name
            if name == "STOP":
                if self.halves or len(self.stack) != 1:
                    raise ValueError("ends before its values are complete")
                return self.stack.pop()
            if name in _SIZES:
                self.stack.append(self._payload(name))
            elif name == "STRING":
                self.stack.append(self._quoted())
            else:
                arg = op.arg.reader(cast(IO[bytes], self.content)) if op.arg else None
                self._step(name, arg)

    def _step(self, name: str, arg: Any) -> None:
        if name in _PLAIN:
            self.stack.append(arg)
        elif name in _FRESH:
            self.stack.append(_FRESH[name]())
        elif name in _GETS:
            self._get(arg)
        elif name in _PUTS:
            self._put(len(self.memo) if arg is None else arg)
        elif name in _STEPS:
            _STEPS[name](self)
        elif name == "GLOBAL":
            self.stack.append(stand_in(*arg.split(" ", 1)))
        elif name == "INST":
            refuse(arg.replace(" ", "."))
        elif name not in ("PROTO", "FRAME"):
            raise Refused(f"uses the instruction {name}, which plain values do not need; {INSTEAD}")

    def _payload(self, name: str) -> Any:
        """Bytes, or text of Python 2; large ones as a view."""
        form = _SIZES[name]
        (size,) = struct.unpack(form, self.content.read(struct.calcsize(form)))
        at = self.content.tell()
        if not 0 <= size <= len(self.content) - at:
            raise ValueError(f"declares {size} bytes, {len(self.content) - at} are left")
        self.content.seek(size, 1)
        if size >= LARGE:
            return memoryview(self.content)[at : at + size]
        value = self.content[at : at + size]
        return value.decode("latin-1") if "STRING" in name else value

    def _quoted(self) -> str:
        """Python 2's text in quotes, with escapes for all that is not ASCII."""
        line = self.content.readline()
        match = re.fullmatch(rb"(['\"])(.*)\1\n", line, re.DOTALL)
        if not match:
            raise ValueError("a string without its quotes")
        return codecs.escape_decode(match[2])[0].decode("latin-1")

    def _put(self, key: int) -> None:
        value = self.memo[key] = self.stack[-1]
        if isinstance(value, Half):
            value.keys.append(key)

    def _get(self, key: int) -> None:
        if isinstance(self.memo[key], Half):
            raise ValueError("an array that holds itself")
        self.stack.append(self.memo[key])

    def spend(self, size: int) -> None:
        """Counts memory that is taken: a few bytes can make the same large value again and again."""
        self.left -= size
        if self.left < 0:
            raise Refused(
                f"takes far more memory than its {len(self.content):,} bytes; if that is right, raise {OPTION}"
            )

    def items(self) -> list[Any]:
        """Pops the items above the last mark."""
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def top(self, kind: type) -> Any:
        """The container on top of the stack, which popped items are added to."""
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"fills a {type(self.stack[-1]).__name__}, expected a {kind.__name__}")
        return self.stack[-1]

    def call(self) -> None:
        """Calls the stand-in of a named function."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Call) or type(arguments) is not tuple:
            raise ValueError(f"calls a {type(function).__name__}")
        self.spend(sum(map(_size, arguments)))
        value = function.make(*arguments)
        self.halves += isinstance(value, Half)
        self.stack.append(value)

    def build(self) -> None:
        """Gives an array or dtype its state; nothing else has one."""
        state, half = self.stack.pop(), self.stack.pop()
        if not isinstance(half, Half):
            raise Refused(f"sets the state of a {type(half).__name__}, which plain values do not need; {INSTEAD}")
        self.spend(_size(state) + sum(map(_size, state)) if type(state) is tuple else 0)
        value = half.finish(state)
        self.halves -= 1
        self.stack.append(value)
        for key in half.keys:
            self.memo[key] = value


def _size(value: Any) -> int:
    """Bytes of a copy; a view of the file is none."""
    return 0 if isinstance(value, memoryview) else sys.getsizeof(value)


# Instructions


def _pairs(machine: _Machine) -> dict[Any, Any]:
    items = machine.items()
    return {as_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _append(machine: _Machine) -> None:
    value = machine.stack.pop()
    machine.top(list).append(value)


def _appends(machine: _Machine) -> None:
    values = machine.items()
    machine.top(list).extend(values)


def _set_item(machine: _Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.top(dict)[as_key(key)] = value


def _set_items(machine: _Machine) -> None:
    pairs = _pairs(machine)
    machine.top(dict).update(pairs)


def _add_items(machine: _Machine) -> None:
    values = machine.items()
    machine.top(set).update(map(as_key, values))


def _stack_global(machine: _Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(stand_in(str(module), str(name)))


def _tuple(count: int) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        values = tuple(machine.stack[-count:])
        if len(values) != count:
            raise ValueError("a tuple with too few items on the stack")
        machine.stack[-count:] = [values]

    return step


_STEPS: dict[str, Callable[[_Machine], object]] = {
    "MARK": lambda m: m.marks.append(len(m.stack)),
    "POP": lambda m: m.stack.pop(),
    "POP_MARK": lambda m: m.items(),
    "DUP": lambda m: m.stack.append(m.stack[-1]),
    "LIST": lambda m: m.stack.append(m.items()),
    "TUPLE": lambda m: m.stack.append(tuple(m.items())),
    "DICT": lambda m: m.stack.append(_pairs(m)),
    "FROZENSET": lambda m: m.stack.append(frozenset(map(as_key, m.items()))),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "ADDITEMS": _add_items,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}
_FRESH: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_PLAIN = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
)
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_SIZES = {
    "SHORT_BINBYTES": "<B",
    "BINBYTES": "<I",
    "BINBYTES8": "<Q",
    "BYTEARRAY8": "<Q",
    "SHORT_BINSTRING": "<B",
    "BINSTRING": "<i",
}
