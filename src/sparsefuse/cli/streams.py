"""Streams of a run as flags: `predict RUN --rgb a.png --depth b.png` is `predict RUN rgb=a.png depth=b.png`."""

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sparsefuse.cli.verbs import VERBS

VERB = "predict"


def streams_of(argv: list[str]) -> tuple[str, ...]:
    """The streams of the run that `predict` is called with, if a flag is none of its options; else nothing. Raises
    FileNotFoundError if there is no such run."""
    parts = [*_parts(argv[1:])] if argv[:1] == [VERB] else []
    run = next((words[0] for flag, words in parts if not flag), None)
    if run is None or all(flag in _OPTIONS for flag, _ in parts if flag):
        return ()
    from sparsefuse.runs.folder import RunFolder
    from sparsefuse.runs.parts import parts_of

    return parts_of(RunFolder(Path(run)))


def as_pairs(argv: list[str], streams: Sequence[str]) -> list[str]:
    """The arguments of `predict` with these flags as pairs, before the files if there are any. Options of the verb stay
    what they are. Raises ValueError for a flag without a file."""
    by_flag = {_flag(name): name for name in reversed(streams)}
    rest, pairs, places = argv[:1], list[str](), list[int]()
    for flag, words in _parts(argv[1:]):
        if flag in by_flag and flag not in _OPTIONS:
            if not words:
                raise ValueError(f"{flag} needs a file of this stream")
            pairs.append(f"{by_flag[flag]}={words[0]}")
            continue
        if not flag:
            places.append(len(rest))
        rest += [flag, *words] if flag else words
    place = places[1] if len(places) > 1 else len(rest)  # places[0] is the run's
    return [*rest[:place], *pairs, *rest[place:]]


class _Part(NamedTuple):
    """A flag with its value, if it takes one, or, with an empty flag, an argument."""

    flag: str
    words: list[str]


def _parts(argv: Sequence[str]) -> Iterator[_Part]:
    words = iter(argv)
    for word in words:
        if word == "-" or not word.startswith("-"):
            yield _Part("", [word])
        elif word in _ALONE:
            yield _Part(word, [])
        else:
            yield _Part(word, [value] if (value := next(words, None)) is not None else [])


def _flag(name: str) -> str:
    """As `argv.spelled_out` leaves it."""
    return f"--{name.replace('-', '_')}"


_PARAMETERS = inspect.signature(VERBS[VERB]).parameters
_OPTIONS = {"-h", "--help", *map(_flag, _PARAMETERS)}
_ALONE = {"-h", "--help", *(_flag(name) for name, parameter in _PARAMETERS.items() if parameter.annotation is bool)}
