"""Expands short forms of the command line into arguments for the parser."""

import json
import re
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from sparsefuse.config import merged
from sparsefuse.files.references import FILES, suffix

STRINGS = ("--methods", "--modalities", "--data.modalities", "--data.split.test_groups", "--data.split.folds",
           "--study.experiments", "--device_profile", "--host_name", "--allow_origin", "--roots",
           "--distill.teachers")  # fmt: skip
LISTS = ("--seeds", "--values", "--study.seeds", "--study.t1_seeds", "--data.split.fractions", "--fractions")
MAPPINGS = ("--lengths", "--features", "--options")


def spelled_out(argv: list[str], with_config: Container[str]) -> list[str]:
    """A leading file is the configuration of a verb that has one, - in a flag is _, and a,b is a list. What follows --,
    and names of files that exist, are no flags even if they begin with -."""
    end = argv.index("--") if "--" in argv else len(argv)
    argv = [f"./{arg}" if arg[:1] == "-" and arg != "-" and (i > end or _is_file(arg)) else arg
            for i, arg in enumerate(argv) if i != end]  # fmt: skip
    if argv[:2] == ["generate", "rooms"]:
        argv[:2] = ["generate-rooms"]
    argv = [part for arg in argv for part in (arg.split("=", 1) if re.match(r"--[\w.-]+=", arg) else [arg])]
    argv = [arg.replace("-", "_").replace("__", "--", 1) if re.match(r"--\w", arg) else arg for arg in argv]
    if len(argv) > 1 and argv[0] in with_config and not argv[1].startswith("-"):
        suffix = Path(argv[1]).suffix.lower()
        if suffix in (".yaml", ".yml"):
            argv.insert(1, "--config")
        elif argv[0] not in ("extract", "distill"):
            argv.insert(1, "--data.manifest")
    for i, flag in enumerate(argv[:-1]):
        if flag == "--distill" and not argv[i + 1].startswith("{"):
            argv[i] = flag = "--distill.teachers"
        if flag in STRINGS:
            argv[i + 1] = _strings(argv[i + 1])
        elif flag in LISTS and not argv[i + 1].startswith("["):
            argv[i + 1] = f"[{argv[i + 1]}]"
    return argv


def _is_file(arg: str) -> bool:
    return (suffix(arg) in FILES or arg.endswith((".jsonl", ".ndjson", ".yaml", ".yml"))) and Path(arg).is_file()


def _strings(text: str) -> str:
    """`a,1` and `[a, 1]` -> `["a", "1"]`: a group called 1 is a name."""
    import yaml

    try:
        return json.dumps(yaml.load(text if text.startswith("[") else f"[{text}]", Loader=yaml.BaseLoader))
    except yaml.YAMLError:
        return text


def on_top(argv: list[str], below: Callable[[list[str]], Mapping[str, Any]]) -> list[str]:
    """All flags of a mapping as one, on top of the YAML's: `--options.sft.keep 3` leaves the other options as they are.

    `below` gives the parsed arguments without those flags.
    """
    mappings: dict[str, dict[str, Any]] = {}
    rest = []
    arguments = iter(argv)
    for arg in arguments:
        flag, _, inner = arg.partition(".")
        value = next(arguments, None) if flag in MAPPINGS else None
        tree = None if value is None else _tree(inner, value)
        if tree is None:
            rest += [arg] if value is None else [arg, value]
        else:
            mappings[flag] = merged(mappings.get(flag, {}), tree)
    if not mappings:
        return argv
    before = below(rest)
    return rest + [
        part
        for flag, tree in mappings.items()
        for part in (flag, json.dumps(merged(_mapping(before.get(flag.removeprefix("--"))), tree)))
    ]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}  # features: auto


def _tree(path: str, text: str) -> dict[str, Any] | None:
    """`sft.keep=3,mbt.drop=0.5`, or JSON, as a mapping, below `path` if there is one; None for something else."""
    value: Any = _value(text)
    if re.match(r"[^{}\[\]\s]+=", text):
        value = {}
        for pair in re.split(r",(?=[^,=]+=)", text):
            name, _, inner = pair.partition("=")
            value = merged(value, _nested(name, _value(inner)))
    tree = _nested(path, value)
    return tree if isinstance(tree, dict) else None


def _nested(path: str, value: Any) -> Any:
    """`a.b` and 1 -> {a: {b: 1}}; the dots of `../my/fusion.py` stay."""
    for name in reversed(re.split(r"\.(?!py\b|/|\.)", path) if path else []):
        value = {name: value}
    return value


def _value(text: str) -> Any:
    """A value as in the YAML of a configuration: 1e-3 is a number."""
    import yaml
    from jsonargparse import get_loader

    try:
        return get_loader("yaml")(text)
    except yaml.YAMLError:
        return text
