"""Short forms of the command line in, the arguments that the parser knows out."""

import json
import re
from collections.abc import Container
from pathlib import Path
from typing import Any

STRINGS = ("--methods", "--data.modalities", "--data.split.test_groups", "--data.split.folds")
NUMBERS = ("--seeds", "--data.split.fractions")
MAPPINGS = ("--lengths", "--features", "--options")


def spelled_out(argv: list[str], with_config: Container[str]) -> list[str]:
    """A leading file is the configuration of a verb that has one, - in a flag is _, and a,b is a list."""
    argv = [part for arg in argv for part in (arg.split("=", 1) if re.match(r"--[\w.-]+=", arg) else [arg])]
    argv = [arg.replace("-", "_").replace("__", "--", 1) if re.match(r"--\w", arg) else arg for arg in argv]
    if len(argv) > 1 and argv[0] in with_config and not argv[1].startswith("-"):
        suffix = Path(argv[1]).suffix.lower()
        if suffix in (".yaml", ".yml"):
            argv.insert(1, "--config")
        elif argv[0] != "extract":
            argv.insert(1, "--data.manifest")
    for i, flag in enumerate(argv[:-1]):
        if flag in STRINGS:
            argv[i + 1] = _strings(argv[i + 1])
        elif flag in NUMBERS and not argv[i + 1].startswith("["):
            argv[i + 1] = f"[{argv[i + 1]}]"
        elif flag in MAPPINGS and re.match(r"[^{}]+=", argv[i + 1]):
            argv[i + 1] = _mapping(argv[i + 1])
    return argv


def _strings(text: str) -> str:
    """`a,1` and `[a, 1]` -> `["a", "1"]`: a group called 1 is a name."""
    import yaml

    try:
        return json.dumps(yaml.load(text if text.startswith("[") else f"[{text}]", Loader=yaml.BaseLoader))
    except yaml.YAMLError:
        return text


def _mapping(text: str) -> str:
    """`a.b=1,a.c=x` -> the JSON of {a: {b: 1, c: x}}."""
    import yaml

    whole: dict[str, Any] = {}
    for pair in re.split(r",(?=[^,=]+=)", text):
        path, _, value = pair.partition("=")
        *parents, last = path.split(".")
        place = whole
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = yaml.safe_load(value)
    return json.dumps(whole)
