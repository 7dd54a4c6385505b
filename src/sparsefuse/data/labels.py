"""What a model predicts: the labels of the training rows in, numbers for the loss out."""

import logging
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sparsefuse.metrics import Task
from sparsefuse.names import unknown
from sparsefuse.skipped import Unusable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labels:
    """The task and its classes, in the order of the model's outputs (none for regression)."""

    task: Task
    classes: tuple[str, ...] = ()

    @classmethod
    def from_rows(cls, labels: Iterable[str], task: Literal[Task, "auto"] = "auto") -> "Labels":
        """Learns the classes from the labels of the training rows; empty ones are left out.

        Raises ValueError when they cannot be learnt from: none at all, one class only, not numbers.
        """
        texts = [text for text in labels if text]
        if not texts:
            raise ValueError("no training row has a label; check data.label and the manifest's label column")
        found = guess_task(texts) if task == "auto" else task
        if found == "regression":
            if all(_number(text) is None for text in texts):
                raise ValueError(f"task regression: no label is a number (such as {texts[0]!r}); set data.task=class")
            return cls("regression")
        names = {part for text in texts for part in (parts(text) if found == "multilabel" else [text])}
        if found == "class" and len(names) < 2:
            raise ValueError(f"all {len(texts)} training labels are {texts[0]!r}; expected at least two classes")
        return cls(found, tuple(sorted(names, key=_order)))

    @property
    def num_outputs(self) -> int:
        """How many numbers the model gives per sample."""
        return len(self.classes) or 1

    def encode(self, text: str) -> Tensor:
        """The label as the loss takes it: () long, (C,) float or () float. Raises Unusable for one it cannot encode.

        With several labels, an empty text means that none of the classes is there.
        """
        if self.task == "multilabel":
            return torch.zeros(len(self.classes)).index_fill(0, torch.tensor(self._indices(parts(text))).long(), 1.0)
        if not text:
            raise Unusable("the label is empty")
        if self.task == "class":
            return torch.tensor(self._indices([text])[0])
        number = _number(text)
        if number is None:
            raise Unusable(f"label {text!r} is not a finite number, as regression expects")
        return torch.tensor(number, dtype=torch.float32)

    def _indices(self, names: list[str]) -> list[int]:
        for name in names:
            if name not in self.classes:
                raise Unusable(f"label not seen in training: {unknown('class', name, self.classes)}")
        return [self.classes.index(name) for name in names]

    def to_json(self) -> dict[str, Any]:
        """As plain lists and strings."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Labels":
        """The inverse of `to_json`."""
        return cls(value["task"], tuple(value["classes"]))


def guess_task(labels: Iterable[str]) -> Task:
    """Any | means several labels; numbers with a fraction mean regression; everything else is a class. Logs which."""
    texts = [text for text in labels if text]
    if any("|" in text for text in texts):
        log.info("labels hold |: several classes per clip; for one class per clip set data.task=class")
        return "multilabel"
    fractions = [text for text in texts if (number := _number(text)) is not None and number != int(number)]
    words = [text for text in texts if _number(text) is None]
    if fractions and words:
        raise ValueError(
            f"labels are numbers (such as {fractions[0]}) and words (such as {words[0]!r}); "
            "set data.task to regression or class"
        )
    if fractions:
        log.info("labels are numbers with fractions: regression; for classes set data.task=class")
        return "regression"
    if texts and not words:
        log.info("labels are whole numbers: %d classes; for regression set data.task=regression", len(set(texts)))
    else:
        log.info("labels are words: %d classes", len(set(texts)))
    return "class"


def parts(text: str) -> list[str]:
    """`a|b` -> [a, b]."""
    return [part.strip() for part in text.split("|") if part.strip()]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _order(name: str) -> tuple[float, str]:
    """Numbers by value (9 before 10), then words."""
    number = _number(name)
    return (math.inf if number is None else number, name)
