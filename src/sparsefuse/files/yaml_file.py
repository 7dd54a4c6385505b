"""Reads a YAML file as a tree, unless a few lines of it stand for far more."""

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

LARGEST = 100_000
"""values in a configuration, where each `*alias` counts as all that it stands for"""
DEEPEST = 50
"""levels of nesting"""


def read_yaml(path: Path, kind: type) -> dict[str, Any]:
    """The tree of a `kind`, a dataclass. Raises ValueError for a file that holds anything else."""
    import yaml
    from jsonargparse import get_loader

    try:
        text = path.read_text(encoding="utf-8-sig")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        size, depth = _measure(node, {})
        if size > LARGEST or depth > DEEPEST:
            raise ValueError(f"more than {LARGEST:,} values or {DEEPEST} levels")
        _check_once(node)
        tree = get_loader("yaml")(text) if size else {}
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}); save it in UTF-8") from error
    except RecursionError as error:
        raise ValueError(f"{path}: more than {DEEPEST} levels") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: not a YAML configuration ({' '.join(str(error).split()):.300})") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: holds no fields, expected lines such as `method: sft`")
    _check_sections(kind, tree, str(path))
    return tree


def _check_sections(kind: type, tree: dict[str, Any], place: str) -> None:
    """Raises ValueError for a section without fields, such as `data:` with nothing below it."""
    for name, inner in get_type_hints(kind).items():
        if isinstance(inner, type) and is_dataclass(inner) and name in tree:
            if not isinstance(tree[name], dict):
                raise ValueError(f"{place}: {name} is a section, expected fields below it; got {tree[name]!r:.60}")
            _check_sections(inner, tree[name], f"{place}: {name}")


def _check_once(node: Any) -> None:
    """Raises ValueError for a name that stands twice in a section, of which the last alone would count."""
    lines: dict[str, int] = {}
    for item in node.value if node is not None and isinstance(node.value, list) else []:
        name, inner = item if isinstance(item, tuple) else (None, item)
        if name is not None and isinstance(name.value, str):
            line = name.start_mark.line + 1
            if name.value in lines and name.value != "<<":
                raise ValueError(f"{name.value!r:.60} is on lines {lines[name.value]} and {line}; merge them")
            lines[name.value] = line
        _check_once(inner)


def _measure(node: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """(values, levels) of a node, aliases written out."""
    if node is None:
        return 0, 0
    if id(node) not in known:
        known[id(node)] = LARGEST + 1, 1  # for one that holds itself
        inner = node.value if isinstance(node.value, list) else []
        parts = [_measure(part, known) for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(size for size, _ in parts), 1 + max((depth for _, depth in parts), default=0)
    return known[id(node)]
