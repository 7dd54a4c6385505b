"""What differs between the model cards of runs of another kind: of clips, of pictures."""

from typing import NamedTuple


class Said(NamedTuple):
    """Parts of a card, as Markdown."""

    sample: str
    """what it is shown: clip, scene"""
    what: str
    """the model in a sentence"""
    size: str
    """of the sample that costs are of"""
    inputs: str
    outputs_title: str
    outputs: str
    trained_on: str
    """what the counts of splits are of"""
    use: str
    limits: list[str]
    origin: str = ""
    """what is said of a model that came from another; empty = it did not"""
