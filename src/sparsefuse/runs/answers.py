"""predictions.csv of a run in (see `scoring.predictions_csv`), the answer for each clip out. Needs no torch."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Answer(NamedTuple):
    """A line of predictions.csv."""

    id: str
    label: str
    predicted: str
    shares: dict[str, float]
    """class -> its probability; of regression none"""


def read_answers(path: Path) -> Iterator[Answer]:
    """Columns are told by their places: a class may be called as the first ones are, such as `label`."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        classes = next(lines)[3:]
        for id, label, predicted, *shares in lines:
            yield Answer(id, label, predicted, dict(zip(classes, map(float, shares), strict=False)))
