"""How many samples of each class a split has: usable rows in, counts and what is uneven out."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sparsefuse.data.check.ids import some
from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.data.labels import Labels, alike, listed
from sparsefuse.data.manifest import Row

UNEVEN = 10
"""times as many samples"""


def balance(rows: Mapping[str, Sequence[Row]], labels: Labels) -> dict[str, dict[str, int]]:
    """Split -> class -> samples; for regression the one class is `all`."""
    return {split: _classes(part, labels) for split, part in rows.items()}


def imbalance(counts: Mapping[str, Mapping[str, int]], labels: Labels) -> list[Problem]:
    """Splits without rows, classes that a split lacks, and heads whose classes are imbalanced in training."""
    problems = []
    for split, classes in counts.items():
        absent = [name for name, count in classes.items() if not count]
        if not sum(classes.values()):
            problems.append(broken("split", f"{split} has no usable sample"))
        elif absent:
            message = f"{split} has no sample of {len(absent)} of {len(classes)} classes: {some(absent)}"
            problems.append(broken("absent", message))
    for span in labels.groups.values():
        train = {labels.classes[i]: count for i in span if (count := counts.get("train", {}).get(labels.classes[i]))}
        if train and max(train.values()) >= UNEVEN * min(train.values()):
            most, least = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
            message = f"classes are uneven in train: {most!r} has {train[most]} samples, {least!r} has {train[least]}"
            problems.append(broken("uneven", message))
    return problems


def odd_classes(labels: Labels) -> list[Problem]:
    """Classes that may be one, and single classes that may be several."""
    problems = []
    for head, span in labels.groups.items():
        classes = [labels.classes[i].removeprefix(f"{head}:") if head else labels.classes[i] for i in span]
        problems += odd_names("classes", classes)
        lists = listed(classes) if labels.task != "multilabel" else []
        if lists:
            problems.append(
                broken("several", f"{len(lists)} classes look like lists of several: {some(map(repr, lists), 3)}")
            )
    return problems


def odd_names(what: str, names: Iterable[str]) -> list[Problem]:
    """Names of classes, or groups, that may be one."""
    problems = []
    for same in alike(names):
        on_screen = len({unicodedata.normalize("NFC", name) for name in same}) < len(same)
        shown = some(map(ascii if on_screen else repr, same))
        problems.append(broken("alike", f"{len(same)} {what} may be the same: {shown}"))
    return problems


def _classes(rows: Sequence[Row], labels: Labels) -> dict[str, int]:
    if labels.task == "regression":
        return {"all": len(rows)}
    counts = Counter(i for row in rows for i in set(labels.indices(row.label)))
    return {name: counts[i] for i, name in enumerate(labels.classes)}
