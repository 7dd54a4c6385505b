"""The text of errors about unknown names: the name, the nearest match and the available ones."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from sparsefuse.shown import shown

LONGEST = 60
"""characters of a name in an error, and as many names: either may come from a file"""
OTHER_NAMES = {
    "learning_rate": "train.lr",
    "lr": "train.lr",
    "max_epochs": "train.epochs",
    "num_epochs": "train.epochs",
    "bs": "train.batch_size",
    "batch_size": "train.batch_size",
    "num_workers": "train.workers",
    "gpu": "train.device",
    "model": "method",
    "output": "out",
    "output_dir": "out",
    "checkpoint": "run",
}
"""What other tools call an option."""


def nearest(kind: str, name: str, available: Iterable[str]) -> str:
    """As `unknown`, of names too many to list: the one that other tools' name means, or the three that are nearest."""
    available, usual = set(available), OTHER_NAMES.get(name, "").rpartition(".")[2]
    near = [usual] if usual in available else difflib.get_close_matches(name, sorted(available), n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"unknown {kind} {shown(name, LONGEST)!r}{hint}"


def near_file(path: Path) -> str:
    """`; did you mean runs/first?`: the file or folder beside the path whose name is most like its own; or empty."""
    names = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    like = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.with_name(shown(like[0], LONGEST))}?" if like and path.name else ""


def unknown(kind: str, name: str, available: Iterable[str]) -> str:
    """The text of an error: `unknown method 'stf'; did you mean 'sft'? available: concat, late, ...`"""
    names = sorted(shown(a, LONGEST) for a in available)
    near = _near(name, names)
    hint = f"; did you mean {near!r}?" if near else "."
    return f"unknown {kind} {shown(name, LONGEST)!r}{hint} available: {_listed(names)}"


def lacking(name: str, wanted: str, columns: Iterable[str], known: Iterable[str]) -> str:
    """The text of an error: `has no column 'acc', which X has; rename 'accel'? columns: accel, label`, where `wanted`
    is `X has`. A column that is `known` keeps its name."""
    names, known = sorted(shown(a, LONGEST) for a in columns), {shown(a, LONGEST) for a in known}
    near = _near(name, [other for other in names if other not in known])
    hint = f"; rename {near!r}?" if near else "."
    return f"has no column {shown(name, LONGEST)!r}, which {wanted}{hint} columns: {_listed(names)}"


def _near(name: str, names: Iterable[str]) -> str:
    """The one that is most like it, or empty."""
    by_case = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(shown(name, LONGEST).casefold(), by_case, n=1, cutoff=0.5)
    return by_case[near[0]] if near else ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LONGEST} more" if len(names) > LONGEST else ""
    return f"{', '.join(names[:LONGEST]) or 'none'}{more}"
