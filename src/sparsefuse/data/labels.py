"""What a model predicts: the labels of the training rows in, numbers for the loss out."""

import logging
import math
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from sparsefuse.config import AnyTask, Task
from sparsefuse.data.manifest import JOIN
from sparsefuse.errors import unknown
from sparsefuse.files.references import IMAGES, suffix
from sparsefuse.files.skipped import Unusable
from sparsefuse.once import log_once

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

_NO_LISTS: Mapping[str, Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True)
class Labels:
    """The task and its classes, in the order of the model's outputs (none for regression)."""

    task: Task
    classes: tuple[str, ...] = ()
    """of several heads, those of one after the other, each with its head in front: `verb:take`"""
    heads: dict[str, int] = field(default_factory=dict)
    """head -> number of its classes; empty unless the task is `heads`"""
    ids: tuple[str, ...] = ()
    """what else a label may call each class, by the list that it is from; empty if no list was given"""

    @classmethod
    def from_rows(
        cls,
        labels: Iterable[str],
        task: Literal[Task, "auto"] = "auto",
        *,
        columns: Sequence[str] = ("label",),
        lists: Mapping[str, Mapping[str, str]] = _NO_LISTS,
    ) -> "Labels":
        """Learns the classes from the labels of the training rows; empty ones are left out.

        `columns` are those that the labels were joined of; `lists` has the classes of some, key -> id, which need not
        be learnt. Raises ValueError when they cannot be learnt from: none at all, one class only, not numbers.
        """
        texts = [text for text in labels if text]
        if not texts:
            raise ValueError("no training row has a label; check data.label and the manifest's label column")
        found = task_of(task, texts, columns)
        if found == "regression":
            if lists:
                raise ValueError("data.classes lists classes, but the task is regression; leave it out")
            return cls("regression")
        seen = _seen(texts, found, columns)
        known = {name: lists.get(name) or dict.fromkeys(sorted(names, key=_order), "") for name, names in seen.items()}
        for name, classes in known.items():
            if found != "multilabel" and len(classes) < 2:
                of = f" of {name}" if found == "heads" else ""
                raise ValueError(
                    f"all {len(texts)} training labels{of} are {next(iter(classes))!r:.60}, those of clips held out "
                    "(valid, test) aside; expected at least two classes"
                )
        return cls(
            found,
            tuple(f"{name}:{key}" if found == "heads" else key for name, classes in known.items() for key in classes),
            {name: len(classes) for name, classes in known.items()} if found == "heads" else {},
            tuple(id for classes in known.values() for id in classes.values()) if lists else (),
        )

    @property
    def num_outputs(self) -> int:
        """How many numbers the model gives per sample."""
        return len(self.classes) or 1

    @property
    def groups(self) -> dict[str, range]:
        """head -> where its classes stand among all; without heads all classes are those of the one head ''."""
        groups: dict[str, range] = {}
        for name, count in (self.heads or {"": len(self.classes)}).items():
            start = sum(map(len, groups.values()))
            groups[name] = range(start, start + count)
        return groups

    def encode(self, text: str) -> "Tensor":
        """The label as the loss takes it: () long, (C,) float, (H,) long or () float. Raises Unusable for one that it
        cannot encode.

        With several labels, an empty text means that none of the classes is there.
        """
        import torch

        if self.task == "multilabel":
            return torch.zeros(len(self.classes)).index_fill(0, torch.tensor(self.indices(text)).long(), 1.0)
        if not text:
            raise Unusable("the label is empty")
        if self.task == "class":
            return torch.tensor(self.indices(text)[0])
        if self.task == "heads":
            return torch.tensor(self.indices(text)) - torch.tensor([span.start for span in self.groups.values()])
        number = _number(text)
        if number is None:
            hint = "; write a decimal point" if "," in text else ""
            raise Unusable(f"label {text!r:.60} is not a finite number, as regression expects{hint}")
        return torch.tensor(number, dtype=torch.float32)

    def indices(self, text: str) -> list[int]:
        """Where the classes that a label names stand among all. Raises Unusable for one that is not known."""
        if self.task != "heads":
            return [self._index(name, "") for name in (parts(text) if self.task == "multilabel" else [text])]
        names = text.split(JOIN)
        if len(names) != len(self.heads):
            raise Unusable(
                f"label {text!r:.60} has {len(names)} parts; expected one of each of {', '.join(self.heads)}"
            )
        return [self._index(name, head) for name, head in zip(names, self.heads, strict=True)]

    def text(self, chosen: "Tensor") -> str:
        """The inverse of `encode`, by the names of the classes; for regression with six digits."""
        if self.task == "regression":
            return f"{float(chosen):.6g}"
        if self.task == "class":
            return self.classes[int(chosen)]
        if self.task == "multilabel":
            return "|".join(name for name, there in zip(self.classes, chosen.bool().tolist(), strict=True) if there)
        spans = zip(self.groups.items(), chosen.tolist(), strict=True)
        return JOIN.join(self.classes[span[i]].removeprefix(f"{head}:") for (head, span), i in spans)

    def likeliest(self, logits: "Tensor") -> "Tensor":
        """What one sample's logits (C,) say, as `encode` would give it."""
        if self.task == "regression":
            return logits[0]
        if self.task == "heads":
            from sparsefuse import metrics

            return metrics.likeliest(logits[None], self.heads)[0]
        return logits.argmax() if self.task == "class" else logits > 0

    def _index(self, name: str, head: str) -> int:
        known = self._known[head]
        if name in known:
            return known[name]
        if not name:
            raise Unusable(f"the {head} of the label is empty")
        span = self.groups[head]
        names = [self.classes[i].removeprefix(f"{head}:") if head else self.classes[i] for i in span]
        why = "not in the list of its classes" if self.ids and self.ids[span.start] else "not seen in training"
        raise Unusable(f"label {why}: {unknown(head or 'class', name, names)}")

    @cached_property
    def _known(self) -> dict[str, dict[str, int]]:
        """head -> name or id of a class -> where it stands among all."""
        known: dict[str, dict[str, int]] = {}
        for head, span in self.groups.items():
            known[head] = {self.classes[i].removeprefix(f"{head}:") if head else self.classes[i]: i for i in span}
            known[head] |= {self.ids[i]: i for i in span if self.ids and self.ids[i]}
        return known


def task_of(given: Literal[AnyTask, "auto"], labels: Iterable[str], columns: Sequence[str]) -> Task:
    """The task that was given, or the one that labels joined of these columns show: several columns are heads.

    Raises ValueError if task and labels, or the number of columns, do not go together, or the task is one of scenes.
    """
    if given == "segment" or given == "translate" or given == "detect":
        raise ValueError(f"data.task is {given}, which is of scenes; expected a task of clips")
    if len(columns) > 1:
        if given not in ("auto", "heads"):
            raise ValueError(
                f"data.task is {given}, but data.label names {len(columns)} columns ({', '.join(columns)}), one label "
                "each; set data.task=heads, or name one column"
            )
        return "heads"
    if given == "heads":
        raise ValueError(
            f"data.task is heads, but data.label names one column ({columns[0]}); join several with {JOIN}, such as "
            f"verb{JOIN}noun"
        )
    texts = [text for text in labels if text]
    if given == "regression" and texts and all(_number(text) is None for text in texts):
        fix = "write decimal points" if "," in texts[0] else "set data.task=class"
        raise ValueError(f"task regression: no label is a number (as {texts[0]!r:.60}); {fix}")
    return guess_task(texts) if given == "auto" else given


def guess_task(labels: Iterable[str]) -> Task:
    """Any | means several labels; numbers with a fraction mean regression; everything else is a class. Logs which."""
    texts = [text for text in labels if text]
    if texts and all(suffix(text) in IMAGES for text in texts):
        raise ValueError(
            f"labels are files of pictures (such as {texts[0]!r:.60}): for a class per pixel set data.task=segment, "
            "for a picture from pictures translate (sparsefuse train; docs/segment.md)"
        )
    if any("|" in text for text in texts):
        log_once(log, "multilabel classification, as labels hold |; for one class per clip set data.task=class")
        return "multilabel"
    fractions = [text for text in texts if (number := _number(text)) is not None and number != int(number)]
    words = [text for text in texts if _number(text) is None]
    if words and all(_number(text.replace(",", ".")) is not None for text in words):
        raise ValueError(
            f"labels are numbers with commas (such as {words[0]!r:.60}): for regression write decimal points, for "
            "several labels set data.separator to a comma, for classes set data.task=class"
        )
    if fractions and words:
        raise ValueError(
            f"labels are numbers (such as {fractions[0]:.60}) and words (such as {words[0]!r:.60}); "
            "set data.task to regression or class"
        )
    if fractions:
        log_once(log, "regression, as labels are numbers with fractions; for classes set data.task=class")
        return "regression"
    if not words and len(set(texts)) > max(10, len(texts) / 2):
        raise ValueError(
            f"labels are {len(set(texts))} whole numbers in {len(texts)} rows (such as {texts[0]:.60}); set data.task "
            "to regression or class"
        )
    why = ", as labels are whole numbers; for regression set data.task=regression" if texts and not words else ""
    log_once(log, f"classification with {len(set(texts))} classes{why}")
    return "class"


def parts(text: str) -> list[str]:
    """`a|b` -> [a, b]."""
    return [part.strip() for part in text.split("|") if part.strip()]


def _seen(texts: Sequence[str], task: Task, columns: Sequence[str]) -> dict[str, set[str]]:
    """Label column -> the classes that labels name; those of heads come from labels that name one of each."""
    if task == "multilabel":
        return {columns[0]: {part for text in texts for part in parts(text)}}
    if task == "class":
        return {columns[0]: set(texts)}
    whole = [names for text in texts if all(names := text.split(JOIN)) and len(names) == len(columns)]
    if not whole:
        raise ValueError(f"no training row has a label in each of {', '.join(columns)}, such as {texts[0]!r:.60}")
    return {head: {names[i] for names in whole} for i, head in enumerate(columns)}


def alike(classes: Iterable[str]) -> list[list[str]]:
    """Classes that are the same but for case, spaces, the encoding of accents, or how a number is written."""
    by_key: dict[object, list[str]] = {}
    for name in classes:
        letters = unicodedata.normalize("NFKC", name).casefold()
        key = "".join(letter for letter in letters if letter.isprintable() and not letter.isspace())
        number = _number(key)
        by_key.setdefault(key if number is None else number, []).append(name)
    return [names for names in by_key.values() if len(names) > 1]


def listed(classes: Collection[str]) -> list[str]:
    """Single classes that seem to be several: `['a', 'b']`, or `a,b` if few names make many of them."""
    lists = [name for name in classes if name[:1] + name[-1:] in ("[]", "()", "{}")]
    for mark in ",;":
        joined = [name for name in classes if mark in name and name not in lists]
        names = {part.strip() for name in classes for part in name.split(mark)}
        lists += joined if len(names) <= len(classes) else []
    return lists


def _number(text: str) -> float | None:
    if "_" in text:  # to Python 1_0 is ten
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _order(name: str) -> tuple[float, str]:
    """Numbers by value (9 before 10), then words."""
    number = _number(name)
    return (math.inf if number is None else number, name)
