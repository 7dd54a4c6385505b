"""The order of arguments: a run folder, then what it is used on."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsefuse.cli.verbs import POSITIONAL


def check_order(verb: str, arguments: Mapping[str, Any]) -> None:
    """Raises ValueError with the command that was meant, if not the run but what follows it is a run folder."""
    first, *rest = POSITIONAL.get(verb, ("",))
    if first != "run" or not rest:
        return
    from sparsefuse.runs.folder import RunFolder
    from sparsefuse.runs.records import ModelFacts

    given = [arguments["run"], *(many if isinstance(many := arguments[rest[0]], list) else [many])]
    run, *others = [Path(place) for place in given if place is not None]
    found = next((other for other in others if RunFolder(other).has(ModelFacts)), None)
    if found is None or RunFolder(run).has(ModelFacts):
        return
    words = [str(path) for path in (run, *others) if path != found]
    meant = shlex.join(["sparsefuse", verb, str(found), *words])
    raise ValueError(f"{run} is not a run folder, but {found} is; did you mean: {meant}")
