"""What a search asks of its data, clips or scenes of pictures: a method's model and its space, and a sample's size."""

from collections.abc import Mapping, Sequence
from typing import Any

from sparsefuse.budget.pixels.space import PixelSpace, pixel_space_of
from sparsefuse.budget.space import Space, space_of
from sparsefuse.cost import count
from sparsefuse.cost.measure import SampleSize
from sparsefuse.data.clips import Clips
from sparsefuse.data.pixels.scenes import Scenes
from sparsefuse.experiments.variants import Subsets
from sparsefuse.methods import build, pixels
from sparsefuse.model import FusionModel
from sparsefuse.model.pixels import PixelModel
from sparsefuse.runs.summary import MAIN_METRIC

Samples = Clips | Scenes
AnySpace = Space | PixelSpace


def main_metric(data: Samples) -> str:
    """The score that a search goes by."""
    return MAIN_METRIC[_task(data) if isinstance(data, Scenes) else data.labels.task]


def size_of(data: Samples) -> SampleSize:
    """Of a usual training sample."""
    return data.size if isinstance(data, Scenes) else data.typical


def model_of(data: Samples, method: str, options: Mapping[str, Any]) -> FusionModel | PixelModel:
    """With new weights. Raises what `build` raises."""
    if isinstance(data, Scenes):
        return pixels.build(method, data.channels, data.outputs, task=_task(data), **options)
    return build(method, data.features, data.labels.num_outputs, lengths=data.longest, **options)


def gmacs_of(model: FusionModel | PixelModel, data: Samples) -> float:
    """Of one sample."""
    if isinstance(model, PixelModel):
        assert isinstance(data, Scenes)
        return count.count_pixels(model, *data.size) / 1e9
    assert isinstance(data, Clips)
    return count.total(model, data.typical) / 1e9


def searched(data: Samples, method: str, configured: Mapping[str, Any], subsets: Sequence[Subsets] = ()) -> AnySpace:
    """The space of a method. `configured`: its options in the configuration; `subsets`: see `space_of`."""
    if isinstance(data, Scenes):
        return pixel_space_of(method, configured, _task(data), list(data.channels), subsets)
    return space_of(method, configured, data.typical, subsets)


def _task(scenes: Scenes) -> str:
    return "segment" if scenes.classes else "translate"
