"""What model.json of a run that is shared holds."""

from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.records import ModelFacts


def facts_of(run: RunFolder) -> ModelFacts | PixelFacts:
    """Of a run on clips or pictures. Raises ValueError for one of another kind, FileNotFoundError if there is none."""
    return run.read(PixelFacts if run.task in PIXEL_TASKS else ModelFacts)
