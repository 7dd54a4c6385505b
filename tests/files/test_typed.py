"""Dataclasses as JSON: the way there and back, and a sentence for whatever is not one."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from sparsefuse.files.typed import from_json, parse, read, to_json, write


@dataclass(frozen=True)
class Inner:
    """A part."""

    kind: Literal["a", "b"]
    sizes: tuple[int, float]


@dataclass(frozen=True)
class Outer:
    """All kinds of fields."""

    name: str
    inner: Inner
    fold: int | None
    many: dict[str, list[Inner]]
    free: object
    from_: str | None = None
    extra: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise ValueError("the name is bad")


MADE = Outer("x", Inner("a", (1, 2.5)), None, {"y": [Inner("b", (3, 4.0))]}, {"any": [1, None, "z"]}, "there", {"n": 1})


def test_what_goes_out_comes_back(tmp_path: Path) -> None:
    write(tmp_path / "made.json", MADE)
    assert read(Outer, tmp_path / "made.json") == MADE
    tree = json.loads((tmp_path / "made.json").read_text())
    assert tree["from"] == "there"
    assert tree["inner"] == {"kind": "a", "sizes": [1, 2.5]}


def test_what_is_none_by_default_is_left_out_and_what_is_none_by_choice_stays() -> None:
    tree = to_json(Outer("x", MADE.inner, None, {}, None))
    assert tree["fold"] is None
    assert tree["free"] is None
    assert "from" not in tree
    assert from_json(Outer, {k: v for k, v in tree.items() if k != "extra"}, "f") == from_json(Outer, tree, "f")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": {"kind": "c", "sizes": [1, 2]}}, "f: inner.kind: unknown kind 'c'; did you mean 'a'?"),
        ({"inner": {"kind": ["a"], "sizes": [1, 2]}}, "f: inner.kind: unknown kind"),
        ({"inner": {"kind": "a", "sizes": [1]}}, "f: inner.sizes has 1 values; expected 2"),
        ({"inner": {"kind": "a", "sizes": [1.5, 2]}}, "f: inner.sizes.0 is 1.5; expected a whole number"),
        ({"many": {"y": [{"kind": "a"}]}}, "f: many.y.0.sizes is missing; fields: kind, sizes"),
        ({"extra": {"n": False}}, "f: extra.n is False; expected a whole number"),
        ({"from_": "x"}, "f: unknown field 'from_'; did you mean 'from'?"),
        ({"name": "bad"}, "f: the name is bad"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        from_json(Outer, {**to_json(MADE), **change}, "f")
    assert str(error.value).startswith(message.removesuffix("; did you mean 'a'?"))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_would_be_refused_is_not_written(tmp_path: Path, number: float) -> None:
    path = tmp_path / "a.json"
    write(path, MADE)
    with pytest.raises(ValueError, match=r"a\.json is not written: a number in it would be NaN or infinite"):
        write(path, replace(MADE, free=[number]))
    assert read(Outer, path) == MADE


def test_a_number_of_ten_thousand_digits_is_no_json() -> None:
    """Python itself refuses to read it, with an error that is not JSON's."""
    with pytest.raises(ValueError, match="f is not JSON"):
        parse("9" * 10_000, "f")
