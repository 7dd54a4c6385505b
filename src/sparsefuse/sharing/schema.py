"""What model.json may say: parsed JSON in; nothing, or a ValueError that names the place, out."""

import json
from pathlib import Path
from typing import Any, get_args

from sparsefuse.errors import unknown
from sparsefuse.features import extractors
from sparsefuse.methods import methods
from sparsefuse.metrics import Task

MOST_TOKENS = 65_536
MOST_FEATURES = 1_000_000
MOST_CLASSES = 100_000
MOST_MODALITIES = 64
MOST = 65_536
"""of a whole number among a method's options"""
MOST_EXTRACTED = 1_000_000
"""of a whole number among an extractor's options, such as a sample rate"""
LONGEST = 500
"""characters of a name"""
DEEPEST = 8
"""levels of nesting among options"""


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises ValueError for any other."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path.name} is no JSON ({str(error)[:100]})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds a {type(value).__name__}; expected an object")
    return value


def check_model(facts: dict[str, Any]) -> None:
    """Raises ValueError for the first thing in model.json that is missing, of the wrong kind or absurdly large."""
    for key in ("name", "method"):
        _text(facts, key)
    _code(facts["method"], "method", methods())
    features = _counts(facts, "features", MOST_FEATURES)
    if not 1 <= len(features) <= MOST_MODALITIES:
        raise ValueError(f"model.json: features names {len(features)} modalities; expected 1 to {MOST_MODALITIES}")
    lengths = _counts(facts, "lengths", MOST_TOKENS)
    if lengths.keys() != features.keys():
        raise ValueError(
            f"model.json: lengths is of {sorted(lengths)}, features of {sorted(features)}; expected the same"
        )
    _counts(facts, "resample", MOST_TOKENS)
    _count(_of(facts, "max_length", int), "max_length", MOST_TOKENS, least=0)
    _count(facts.get("windows", 1), "windows", 1000)
    _of(facts, "normalised", bool)
    _plain(_of(facts, "options", dict), "options", MOST)
    _check_labels(_of(facts, "labels", dict))
    _check_extract(facts.get("extract"))


def _check_labels(labels: dict[str, Any]) -> None:
    if labels.get("task") not in get_args(Task):
        raise ValueError(f"model.json: labels: {unknown('task', str(labels.get('task'))[:LONGEST], get_args(Task))}")
    classes, ids = _names(labels.get("classes"), "classes"), _names(labels.get("ids", []), "ids")
    heads = labels.get("heads", {})
    if not isinstance(heads, dict):
        raise ValueError(f"model.json: labels.heads is a {type(heads).__name__}; expected an object")
    for name, count in heads.items():
        _count(count, f"labels.heads.{name}", MOST_CLASSES)
    if (labels["task"] == "regression") != (not classes):
        raise ValueError(f"model.json: labels has {len(classes)} classes, which task {labels['task']} cannot have")
    if (labels["task"] == "heads") != bool(heads) or (heads and sum(heads.values()) != len(classes)):
        raise ValueError(f"model.json: labels has heads {heads} of {len(classes)} classes, task {labels['task']}")
    if ids and len(ids) != len(classes):
        raise ValueError(f"model.json: labels has {len(ids)} ids of {len(classes)} classes")
    if len(set(classes)) != len(classes):
        raise ValueError("model.json: labels names a class twice")


def _check_extract(extract: Any) -> None:
    """What features are made of: an extractor that comes with sparsefuse, and plain options."""
    if extract is None:
        return
    if not isinstance(extract, dict) or not isinstance(extract.get("features", {}), dict):
        raise ValueError("model.json: extract must be null or an object with features; got something else")
    for name, spec in extract.get("features", {}).items():
        if not isinstance(spec, dict):
            raise ValueError(f"model.json: extract.features.{name[:LONGEST]} is no object")
        _code(spec.get("extractor"), f"extract.features.{name[:LONGEST]}.extractor", extractors())
        if not isinstance(spec.get("source", ""), str):
            raise ValueError(f"model.json: extract.features.{name[:LONGEST]}.source is no text")
        _plain(spec, f"extract.features.{name[:LONGEST]}", MOST_EXTRACTED)


def _code(name: Any, where: str, known: list[str]) -> None:
    """What would be executed must be part of sparsefuse."""
    if not isinstance(name, str) or len(name) > LONGEST:
        raise ValueError(f"model.json: {where} must be a short text; got {str(name)[:60]!r}")
    if name in known:
        return
    if name.lower().endswith(".py") or "/" in name or "\\" in name:
        raise ValueError(
            f"model.json: {where} is the code {name!r}; a shared run must do with what comes with sparsefuse "
            f"({', '.join(known)}), for code from elsewhere is not run"
        )
    raise ValueError(f"model.json: {unknown(where, name, known)}")


def _of(facts: dict[str, Any], key: str, kind: type) -> Any:
    if not isinstance(facts.get(key), kind) or (kind is int and isinstance(facts[key], bool)):
        got = type(facts[key]).__name__ if key in facts else "nothing"
        raise ValueError(f"model.json: {key} is {got}; expected {kind.__name__}")
    return facts[key]


def _text(facts: dict[str, Any], key: str) -> None:
    if len(_of(facts, key, str)) > LONGEST:
        raise ValueError(f"model.json: {key} has {len(facts[key])} characters; expected {LONGEST} at most")


def _counts(facts: dict[str, Any], key: str, most: int) -> dict[str, int]:
    """modality -> whole number."""
    for name, value in _of(facts, key, dict).items():
        if len(name) > LONGEST:
            raise ValueError(f"model.json: {key} has a name of {len(name)} characters; expected {LONGEST} at most")
        _count(value, f"{key}.{name}", most)
    return facts[key]


def _count(value: Any, where: str, most: int, *, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"model.json: {where} is {str(value)[:60]}; expected a whole number, {least} to {most:,}")


def _names(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or len(value) > MOST_CLASSES:
        told = f"{len(value):,} names" if isinstance(value, list) else type(value).__name__
        raise ValueError(f"model.json: labels.{where} is {told}; expected a list of {MOST_CLASSES:,} at most")
    for name in value:
        if not isinstance(name, str) or len(name) > LONGEST:
            raise ValueError(f"model.json: labels.{where} has {str(name)[:60]!r}; expected names of {LONGEST} at most")
    return value


def _plain(value: Any, where: str, most: int, depth: int = 0) -> None:
    """Numbers that are finite and not huge, short texts, and lists and objects of them."""
    if depth > DEEPEST:
        raise ValueError(f"model.json: {where} is nested more than {DEEPEST} levels")
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _plain(inner, f"{where}.{str(key)[:LONGEST]}", most, depth + 1)
    elif isinstance(value, str):
        if len(value) > LONGEST:
            raise ValueError(f"model.json: {where} has {len(value)} characters; expected {LONGEST} at most")
    elif isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) <= most:
        raise ValueError(f"model.json: {where} is {value:g}; expected {most:,} at most")
