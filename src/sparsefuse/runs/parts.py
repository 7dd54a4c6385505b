"""A run folder in; the names of what a clip or scene of it is given by, out. Needs no torch."""

from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.point_facts import PointFacts
from sparsefuse.runs.records import ModelFacts

OF_CLOUDS = ("cloud", "cameras", "rgb", "root")
"""a scene with a cloud, see `inference.points.predictor.Scene`"""


def parts_of(run: RunFolder) -> tuple[str, ...]:
    """Streams of pictures; the parts of a scene with a cloud; modalities, and the columns they are made from. Raises
    FileNotFoundError if it is no run, ValueError for a model.json with invalid content."""
    if run.describes is PointFacts:
        return OF_CLOUDS
    if run.describes is PixelFacts:
        return tuple(run.read(PixelFacts).streams)
    facts = run.read(ModelFacts)
    sources = (spec.get("source", "") for spec in facts.extractors.values())
    return tuple(dict.fromkeys([*facts.features, *filter(None, sources)]))
