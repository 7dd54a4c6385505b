"""The text of errors about unknown names: the name, the nearest match and the available ones."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, available: Iterable[str]) -> str:
    """The text of an error: `unknown method 'stf'; did you mean 'sft'? available: concat, late, ...`"""
    names = sorted(str(a) for a in available)
    by_case = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(name.casefold(), by_case, n=1, cutoff=0.5)
    hint = f"; did you mean {by_case[near[0]]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} available: {', '.join(names) or 'none'}"
