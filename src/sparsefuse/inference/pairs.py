"""Files of a command line in; the same out, those given as NAME=FILE together, as one clip or scene."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from sparsefuse.errors import unknown


def with_pairs(
    files: Sequence[Path], names: Collection[str], *, several: Collection[str] = ()
) -> Iterator[Path | dict[str, list[str]]]:
    """`rgb=a.png depth=b.png` -> {"rgb": ["a.png"], "depth": ["b.png"]}; other files as they are.

    Pairs in a row are one clip; a name that occurs again begins the next one, unless it is in `several`. Raises
    ValueError for a file with a name that is not among `names`.
    """
    pairs: dict[str, list[str]] = {}
    for path in files:
        name, is_pair, file = str(path).partition("=")
        is_pair = is_pair and not os.path.exists(path)
        if is_pair and name not in names and os.path.exists(file):
            raise ValueError(f"{path}: {unknown('stream', name, names)}")
        if pairs and (not is_pair or name not in names or (name in pairs and name not in several)):
            yield pairs
            pairs = {}
        if is_pair and name in names:
            pairs.setdefault(name, []).append(file)
        else:
            yield path
    if pairs:
        yield pairs
