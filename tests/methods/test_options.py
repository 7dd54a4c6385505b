"""Every option of every method, given a value of the wrong kind, is an error of one line that names it."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest

from sparsefuse import methods
from sparsefuse.layers.pixels import sizes as pixel_sizes
from sparsefuse.layers.points import sizes as point_sizes
from sparsefuse.layers.stem import StemOptions
from sparsefuse.methods import pixels, points
from sparsefuse.options import check_kind

WRONG = ("x", 2.5, -1, True, [], {}, None, float("nan"), ["x"], [None], {"rgb": "x"}, {"rgb": None},
         {"rgb": {"x": "y"}}, {"rgb": [1]}, {3: 4}, [[1], ["x"]], [{"rgb": "x"}])  # fmt: skip
"""Values of every kind that a YAML has; each option has some of another kind."""
Build = Callable[..., Any]
BUILDS: dict[str, tuple[Build, Build]] = {}
"""method -> its `build`, and what calls it with a value for one option"""
for method in methods.methods():
    BUILDS[method] = methods.find(method).build, partial(methods.build, method, {"rgb": 4, "sound": 3}, 2)
for method in pixels.methods():
    on_pixels = partial(pixels.build, method, {"rgb": 3, "depth": 1}, 2, size="tiny")
    BUILDS[f"pixels.{method}"] = pixels.find(method).build, on_pixels
for method in points.methods():
    BUILDS[f"points.{method}"] = points.find(method).build, partial(points.build, method, 1, 2, size="tiny")
OF_ALL = {"stem": Mapping[str, Mapping[str, Any]], "pos_embed": Mapping[str, Any], "modalities": Sequence[str]}
NOT_OPTIONS = ("features", "streams", "num_channels", "num_classes", "lengths")


def options(method: str) -> Iterator[tuple[str, Any]]:
    build, _ = BUILDS[method]
    for name, parameter in inspect.signature(build).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name not in NOT_OPTIONS:
            yield name, parameter.annotation
    if "." not in method:
        yield from OF_ALL.items()
    elif method.startswith("pixels"):
        yield "modalities", Sequence[str]


def fits(kind: Any, value: Any) -> bool:
    """The obvious reading of an annotation; a list of a file may stand for a tuple."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(one, value) for one in inner)
    if origin is Literal:
        return value in inner
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(fits(inner[1], below) for below in value.values())
    if origin in (list, Sequence):
        return isinstance(value, list) and all(fits(inner[0], below) for below in value)
    if kind is Any:
        return True
    if kind in (int, float):
        return type(value) in ((int,) if kind is int else (int, float)) and value >= 0
    return type(value) is (NoneType if kind is None else kind)


@pytest.mark.parametrize(("method", "option", "kind"),
                         [(method, *option) for method in BUILDS for option in options(method)])  # fmt: skip
def test_a_value_of_the_wrong_kind_is_named_in_one_line(method: str, option: str, kind: Any) -> None:
    wrong = [value for value in WRONG if not fits(kind, value)]
    assert len(wrong) > 5
    for value in wrong:
        if value is None and option in OF_ALL:
            continue  # as if it was not given
        with pytest.raises(ValueError) as error:
            BUILDS[method][1](**{option: value})
        said = str(error.value)
        assert "\n" not in said
        assert len(said) < 300
        assert option.replace("_", " ").rstrip("s") in said.replace("_", " "), said


@pytest.mark.parametrize("value", [value for value in WRONG if not isinstance(value, int) or value < 1])
@pytest.mark.parametrize(
    "field", [name for name in vars(StemOptions()) if name not in ("kind", "hop", "kernel", "height")]
)
def test_a_stem_of_the_wrong_kind_is_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"stem of 'rgb': {field} is "):
        methods.build("sft", {"rgb": 4}, 2, stem={"rgb": {"kind": "conv", field: value}})


@pytest.mark.parametrize("field", pixel_sizes.Size._fields)
def test_a_size_on_pixels_of_the_wrong_kind_is_named(field: str) -> None:
    whole = pixel_sizes.SIZES["segment"]["tiny"]._asdict()
    for value in WRONG:
        if value != []:  # of another length: an entry per stage is missing
            with pytest.raises(ValueError, match=rf"size\.{field}.* is .*; expected "):
                pixel_sizes.size_of("segment", {**whole, field: value})


@pytest.mark.parametrize("field", point_sizes.Size._fields)
def test_a_size_of_a_detector_of_the_wrong_kind_is_named(field: str) -> None:
    for value in WRONG:
        if (value, field) not in (([], "levels"), ({}, "picture"), (2.5, "drop")):
            with pytest.raises(ValueError, match=rf"size\.{field}.* is .*; expected |unknown field of size\.picture"):
                point_sizes.size_of({field: value})


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (int, "x", "k is 'x'; expected a whole number, 0 or more"),
        (int | dict[str, int] | None, {"rgb": "x"}, "k.rgb is 'x'; expected a whole number, 0 or more"),
        (int | dict[str, int] | None, 2.5,
         "k is 2.5; expected a whole number, 0 or more, or a mapping by name, each a whole number, 0 or more"),
        (Mapping[str, Mapping[str, int]] | None, {"a": {"b": -1}}, "k.a.b is -1; expected a whole number, 0 or more"),
        (Literal["avg", "max"], 3, "k is 3; expected one of avg, max"),
        (Sequence[Sequence[float]], [[1.0], 2], "k[1] is 2; expected a list, each a number, 0 or more"),
        (tuple[tuple[int, int], ...], [[1, 2], [3]], "k[1] is [3]; expected 2 values, each a whole number, 0 or more"),
        (bool, "false", "k is 'false'; expected true or false"),
        (str, {"y\n": 100}, r"k is {'y\n': 100}; expected a text"),
    ],
)  # fmt: skip
def test_what_is_said(kind: Any, value: Any, said: str) -> None:
    with pytest.raises(ValueError) as error:
        check_kind(kind, value, "k")
    assert str(error.value) == said
