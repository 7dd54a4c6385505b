"""A run folder in; what predicts with it out, whatever its task."""

from pathlib import Path

from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.inference import predictor
from sparsefuse.inference.forward_graphs import When
from sparsefuse.inference.pixels.predictor import PixelPredictor, load_pixels
from sparsefuse.inference.points.predictor import PointPredictor, load_points
from sparsefuse.inference.predictor import Predictor
from sparsefuse.runs.folder import RunFolder


def load(
    run: str | Path, *, device: str = "cpu", trust_code: bool = False, cuda_graphs: When = "never"
) -> Predictor | PixelPredictor | PointPredictor:
    """Loads the best model of a run folder: a `Predictor` of clips, a `PixelPredictor` of pictures, or a
    `PointPredictor` of clouds, one clip or a list of them in, a prediction each out. `Classifier.load` takes tables and
    arrays, as scikit-learn's do. Raises FileNotFoundError if there is none.

    `device`, of the model and of extractors that are models: cpu, cuda, cuda:1 ...; auto = cuda if there is one, else
    cpu. ValueError for one that is not there.
    A run whose method or extractor is a .py file is refused unless `trust_code`: loading must not execute what came
    with it. `cuda_graphs`: whether forward passes of clips are captured, which makes those of few tokens faster on a
    GPU; the model must then stay as it is: never, auto = on a GPU, unless the method is a .py file, always.
    """
    task = RunFolder(Path(run)).task
    if cuda_graphs == "always" and task in (*PIXEL_TASKS, *POINT_TASKS):
        raise ValueError("cuda_graphs is always, but passes of scenes are never captured; leave it out")
    if task in PIXEL_TASKS:
        return load_pixels(run, device=device)
    if task in POINT_TASKS:
        return load_points(run, device=device)
    return predictor.load(run, device=device, trust_code=trust_code, cuda_graphs=cuda_graphs)
