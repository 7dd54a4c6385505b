"""Labels as Python has them: values of any type in, the text that a manifest holds out; and back again."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time
from typing import Any

import numpy as np

from sparsefuse.data.columns import absent, as_texts
from sparsefuse.data.labels import Labels, parts
from sparsefuse.data.manifest import JOIN
from sparsefuse.errors import unknown
from sparsefuse.files.rows import BLANK


def _timestamp(text: str) -> Any:
    """Of pandas; where it is not installed the same time as Python has it, to microseconds."""
    try:
        from pandas import Timestamp
    except ImportError:
        return datetime.fromisoformat(text)
    return Timestamp(text)


_KINDS: dict[str, Callable[[Any], Any]] = {kind.__name__: kind for kind in (str, int, float, bool)}
_KINDS |= {
    f"numpy.{kind.__name__.rstrip('_')}": kind for kind in (np.str_, np.bool_, np.float16, np.float32, np.float64)
}
_KINDS |= {
    f"numpy.{sign}int{bits}": np.dtype(f"{sign}int{bits}").type for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_KINDS |= {
    "numpy.datetime64": np.datetime64,  # its unit is that of the text
    "pandas.Timestamp": _timestamp,
    "datetime.datetime": datetime.fromisoformat,
    "datetime.date": date.fromisoformat,
}
"""types that come back from a file, by their names there"""


class Ones(list[int]):
    """The classes of a clip, as the columns that are 1 in its row of a matrix of 0 and 1."""

    width: int


class Targets:
    """The labels of the clips that a model was fitted to: the value that each text stands for, by column."""

    def __init__(self, columns: Mapping[str, Sequence[Any]], like: "Targets | None" = None):
        """Numbers that are equal, as 1, 1.0 and True, are one label, written as the first, or as `like` writes it; so
        are times, of Python, numpy and pandas, and what texts say of either, where `like` has numbers or times.
        Raises ValueError, naming the row, for a label that is missing, cannot be told from another one, or is of a kind
        of which `like` has none."""
        self.names = tuple(columns)
        self.values: dict[str, dict[str, Any]] = {name: {} for name in columns}
        known = [{}] * len(columns) if like is None else like.values.values()
        self._known: dict[str, Mapping[str, Any]] = dict(zip(columns, known, strict=True))
        self._numbers = {name: _numbers(of) for name, of in self._known.items()}
        self._said = {name: _by_key(of) for name, of in self._known.items()}
        rows = [label for labels in columns.values() for label in labels if isinstance(label, Ones)]
        self.matrix = rows[0].width if rows else 0
        """columns of the matrix that the labels were; 0 if they were none"""
        self.lists = any(_is_list(label) for labels in columns.values() for label in labels)
        self.texts = {name: [self._text(name, row, x) for row, x in enumerate(xs)] for name, xs in columns.items()}

    @classmethod
    def of_kinds(cls, kinds: Mapping[str, Mapping[str, str]], *, matrix: int, lists: bool) -> "Targets":
        """The inverse of `kinds`, `matrix` and `lists`. Raises ValueError for a text that is no value of its type."""
        self = cls({name: [] for name in kinds})
        self.values = {name: {text: _value(text, kind) for text, kind in of.items()} for name, of in kinds.items()}
        self.matrix, self.lists = matrix, lists
        return self

    def keep(self, clips: Sequence[int]) -> None:
        """Leaves out the labels of all but these clips, by their places."""
        self.texts = {name: [texts[clip] for clip in clips] for name, texts in self.texts.items()}

    @property
    def kinds(self) -> dict[str, dict[str, str]]:
        """Column -> text of a label -> name of its type, for a file; "str" for any but plain types
        and dates."""
        return {
            name: {text: _kind(value) if _kind(value) in _KINDS else "str" for text, value in known.items()}
            for name, known in self.values.items()
        }

    @property
    def label(self) -> str:
        """As `data.label` names the columns."""
        return JOIN.join(self.names)

    def learn(self, labels: Labels) -> None:
        """Classes of the model of which no value is known, as those of a manifest, are their texts."""
        for name, texts in zip(self.names, self._texts_of(labels), strict=True):
            self.values[name] = {text: text for text in texts} | self.values[name]

    def classes(self, labels: Labels) -> list[np.ndarray]:
        """Per column the classes of the model as values, sorted."""
        found = [
            array([self.values[name].get(text, text) for text in texts])
            for name, texts in zip(self.names, self._texts_of(labels), strict=True)
        ]
        return [
            np.array(sorted(each, key=lambda x: ("" if _is_number(x) else str(type(x)), x)), dtype=each.dtype)
            for each in found
        ]

    def _texts_of(self, labels: Labels) -> list[list[str]]:
        """Per column the classes of the model."""
        return [
            [labels.classes[i].removeprefix(f"{name}:" if labels.heads else "") for i in span]
            for name, span in zip(self.names, labels.groups.values(), strict=True)
        ]

    def text(self, label: Any) -> str:
        """One label, of one column, as a manifest has it."""
        return "|".join(map(_written, label)) if _is_list(label) else _written(label)

    def value(self, text: str, labels: Labels) -> Any:
        """The label that a prediction's text stands for: a list of one for each column if there are several."""
        if labels.task == "regression":
            return float(text)
        if labels.task == "heads":
            return [self.values[name].get(part, part) for name, part in zip(self.names, text.split(JOIN), strict=True)]
        known = self.values[self.names[0]]
        if self.matrix:
            return np.isin(np.arange(self.matrix), [known[part] for part in parts(text)]).astype(int)
        if labels.task == "multilabel":
            return [known.get(part, part) for part in parts(text)] if self.lists else text
        return known.get(text, text)

    def _text(self, name: str, row: int, label: Any) -> str:
        values = list(label) if _is_list(label) else [label]
        texts = [self._as_known(name, value) for value in values]
        for value, written in zip(values, texts, strict=True):
            if absent(value) or written.lower() in BLANK:
                what = f"is {written!r:.20}, which means no label" if not absent(value) else "is missing (NaN or None)"
                raise ValueError(f"{name!r:.60} of clip {row} {what}; leave the clip out, or give it a label")
            if isinstance(value, bytes):  # as HDF5 files give texts; written, they would be b'...'
                raise ValueError(
                    f"{name!r:.60} of clip {row} is bytes, {bytes(value)!r:.40}; give text: label.decode()"
                )
            self._check_kind(name, row, value, written)
            if _key(known := self.values[name].setdefault(written, value)) != _key(value) and not self._known[name]:
                raise ValueError(f"{name!r:.60} has two labels that are written {written!r:.60}: {known!r}, {value!r}")
        return "|".join(texts)

    def _as_known(self, name: str, value: Any) -> str:
        """The text of a value: that of an equal one, if there is one."""
        if _is_number(value) or _is_time(value):
            return self._numbers[name].setdefault(_key(value), _written(value))
        written = _written(value)
        if not isinstance(value, str) or written in self._known[name]:
            return written
        said = self._said[name]
        return "|".join(next((said[key] for key in _meant(part) if key in said), part) for part in written.split("|"))

    def _check_kind(self, name: str, row: int, value: Any, written: str) -> None:
        """Raises ValueError for a label that none of the known ones can equal, as it is of another kind."""
        known = self._known[name]
        if not known or written in known:
            return
        theirs, mine = [_kinds(each) for each in known.values()], [_kinds(part) for part in _parts_of(value)]
        if all(theirs) and any(kinds and not kinds & set().union(*theirs) for kinds in mine):
            first = next(iter(known.values()))
            raise ValueError(
                f"{name!r:.60} of clip {row} is {value!r:.60}, of type {_kind(value)}; the model was fitted to labels "
                f"of type {_kind(first)}, such as {first!r:.60}; give labels like these"
            )


def targets_of(y: Any, name: str = "label") -> dict[str, list[Any]]:
    """The label columns of `y`: one, or those of a dict or a DataFrame. Raises ValueError for another form."""
    if hasattr(y, "columns"):
        return {text: list(y[column]) for text, column in as_texts(y.columns).items()}
    if isinstance(y, Mapping):
        return {text: list(y[column]) for text, column in as_texts(y).items()}
    if hasattr(y, "__array__"):
        return {name: _of_array(np.asanyarray(y) if np.ma.isMaskedArray(y) else np.asarray(y))}
    if isinstance(y, str) or not isinstance(y, Iterable):
        raise ValueError(f"y is {type(y).__name__}; expected a list of labels")
    return {name: list(y)}


def _of_array(y: np.ndarray) -> list[Any]:
    if y.ndim == 2 and y.shape[1] > 1 and np.isin(y, (0, 1)).all():
        return [_ones(row) for row in y]
    if y.ndim == 1 and np.ma.is_masked(y):
        return list(y)  # in which what is masked is absent
    if y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1):
        return list(y.reshape(-1))
    raise ValueError(
        f"y has shape {y.shape}; expected a label a clip; for several classes a clip, a matrix of 0 and 1 or a list of "
        "lists; for several columns, a DataFrame or dict"
    )


def _numbers(known: Mapping[str, Any]) -> dict[Any, str]:
    """The text of each number, or time, among values; and of each text, as a manifest has them, if it is the only one
    that means the number or time ("1", not "1" beside "01")."""
    texts_of: dict[Any, list[str]] = {}
    for text, value in known.items():
        if isinstance(value, str):
            for key in _meant(text):
                texts_of.setdefault(key, []).append(text)
    return {key: texts[0] for key, texts in texts_of.items() if len(texts) == 1} | _by_key(known)


def _by_key(known: Mapping[str, Any]) -> dict[Any, str]:
    """The text of each number and time among values."""
    return {_key(value): text for text, value in known.items() if _is_number(value) or _is_time(value)}


def _meant(text: str) -> list[Any]:
    """The number, and the time, that a text may be: "1" and "1.0" are 1, "2026-01-01" is midnight of that day."""
    found: list[Any] = [float(text)] if re.fullmatch(r"[+-]?\d+(\.\d*)?", text) else []
    with suppress(ValueError):
        found.append(datetime.fromisoformat(text))
    return found


def _parts_of(value: Any) -> list[Any]:
    """A label, or those that a text names."""
    return value.split("|") if isinstance(value, str) else [value]


def _kinds(value: Any) -> set[str]:
    """What a label is, and may be if it is written; nothing for types of others."""
    if isinstance(value, str):
        return {"text", *("time" if isinstance(each, datetime) else "number" for each in _meant(value))}
    return {"number"} if _is_number(value) else {"time"} if _is_time(value) else set()


def _ones(row: np.ndarray) -> Ones:
    ones = Ones(np.flatnonzero(row).tolist())
    ones.width = len(row)
    return ones


def array(values: Sequence[Any]) -> np.ndarray:
    """Values of one plain type as such an array, others as one of objects."""
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and not _is_list(values[0]) and (found := np.array(values)).ndim == 1:
        return found
    found = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        found[place] = value
    return found


def _kind(value: Any) -> str:
    """`int`, `numpy.int64`, `pandas.Timestamp`."""
    package, name = type(value).__module__.partition(".")[0], type(value).__name__.rstrip("_")
    return name if package == "builtins" else f"{package}.{name}"


def _value(text: str, kind: str) -> Any:
    if kind not in _KINDS:
        raise ValueError(unknown("type of label", kind, _KINDS))
    make = _KINDS[kind]
    try:
        return make(text == "True" if make in (bool, np.bool_) else text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"label {text!r:.60} is no {kind}") from error


def _is_list(label: Any) -> bool:
    return isinstance(label, list | tuple | set | frozenset | np.ndarray) and label is not np.ma.masked


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | np.number | np.bool_)


def _is_time(value: Any) -> bool:
    return isinstance(value, date | np.datetime64)


def _key(value: Any) -> Any:
    """The same of equal numbers, and of equal times: numpy's have another hash than Python's, and a day is its
    midnight."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    if not isinstance(value, np.datetime64):
        return value
    microseconds = value.astype("datetime64[us]")
    return microseconds.item() if microseconds == value else value  # of nanoseconds Python has none


def _written(value: Any) -> str:
    return repr(float(value)) if isinstance(value, float | np.floating) else str(value).strip()
