"""Further checks of a downloaded model.json (see `runs.records.ModelFacts`, `runs.pixel_facts.PixelFacts`): only code
that comes with sparsefuse, and options within bounds."""

from sparsefuse.errors import unknown
from sparsefuse.features import extractors
from sparsefuse.methods import BASELINE, methods, pixels
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.records import ModelFacts

MOST = 65_536
"""of a whole number among a method's options"""
MOST_EXTRACTED = 1_000_000
"""of a whole number among an extractor's options, such as a sample rate"""
LONGEST = 500
"""characters of a name"""
DEEPEST = 8
"""levels of nesting among options"""


def check_model(facts: ModelFacts) -> None:
    """Raises ValueError for the first entry of model.json that names other code, or is too large."""
    for model in facts.models:
        _check_code(model.method, "method", [*methods(), BASELINE])
        _check_plain(model.name, "name", MOST)
        _check_plain(model.options, "options", MOST)
    for where, names in (
        ("name", [facts.name]),
        ("features", facts.features),
        ("labels.classes", facts.labels.classes),
        ("labels.ids", facts.labels.ids),
    ):
        for name in names:
            _check_plain(name, where, MOST)
    for name, spec in facts.extractors.items():
        _check_code(spec["extractor"], f"extract.features.{name}.extractor", extractors())
        _check_plain(spec, f"extract.features.{name}", MOST_EXTRACTED)


def check_pixel_model(facts: PixelFacts) -> None:
    """As `check_model`, of a run on pictures."""
    _check_code(facts.method, "method", pixels.methods())
    _check_plain(facts.options, "options", MOST)
    for where, names in (("name", [facts.name]), ("streams", facts.streams), ("classes", facts.classes)):
        for name in names:
            _check_plain(name, where, MOST)


def _check_code(name: str, where: str, available: list[str]) -> None:
    """Raises ValueError unless the method or extractor is part of sparsefuse."""
    if name in available:
        return
    name = name[:LONGEST]
    if name.lower().endswith(".py") or "/" in name or "\\" in name:
        raise ValueError(
            f"model.json: {where} is the code {name!r}; a shared run can only use the code of sparsefuse "
            f"({', '.join(available)}), because other code is not executed"
        )
    raise ValueError(f"model.json: {unknown(where, name, available)}")


def _check_plain(value: object, where: str, most: int, depth: int = 0) -> None:
    """Raises ValueError for large numbers, long texts and deep nesting."""
    if depth > DEEPEST:
        raise ValueError(f"model.json: {where} is nested more than {DEEPEST} levels")
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _check_plain(inner, f"{where}.{str(key)[:LONGEST]}", most, depth + 1)
    elif isinstance(value, str):
        if len(value) > LONGEST:
            raise ValueError(f"model.json: {where} has {len(value)} characters; expected {LONGEST} at most")
    elif isinstance(value, int | float) and not abs(value) <= most:
        raise ValueError(f"model.json: {where} is {value:g}; expected {most:,} at most")
