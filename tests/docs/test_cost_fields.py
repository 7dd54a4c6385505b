"""docs/python.md explains every field of what `Classifier.cost` gives."""

import dataclasses
import re
from pathlib import Path

from sparsefuse.runs.records import Cost

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_every_field_of_cost_is_explained() -> None:
    table = PAGE.read_text().split("`clf.cost()` has these fields")[1].split("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", table)) == {field.name for field in dataclasses.fields(Cost)}
