"""Small runs on pictures that were never trained: what predictors, exports and pages are tried on."""

import numpy as np
import torch

from sparsefuse.config import Config, Data
from sparsefuse.config.pixels import PictureStream
from sparsefuse.inference.pixels.predictor import PixelPredictor
from sparsefuse.layers.pixels.sizes import Size
from sparsefuse.methods import pixels
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.pixel_weights import write_pixel_weights

STREAMS = {"depth": PictureStream("depth", unit=0.001), "rgb": PictureStream("color")}
CHANNELS = {"depth": 2, "rgb": 3}
CLASSES = ["wall", "floor", "chair"]
STATS = {
    "depth": (torch.tensor([2.0, 0.0]), torch.tensor([0.5, 1.0])),
    "rgb": (torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.2, 0.2])),
}
SIZE = {
    "segment": Size((8, 16), (1, 1), (1, 2), (2, 1), ((7, 4), (3, 2)), head_dim=8),
    "translate": Size((8, 16), (1, 1), (1, 2), (2, 1), ((3, 2), (3, 2))),
}
COLOR = PictureStream("color")


def facts_of(task="segment", method="concat", *, size=(32, 40), height=0, width=0, classes=CLASSES, target=COLOR):
    options, outputs = {**pixels.find(method).TEST, "size": SIZE[task]._asdict()}, len(classes)
    if task == "translate":
        classes, outputs = [], {"depth": 1, "gray": 1}.get(target.kind, 3)
    return PixelFacts(
        task=task, name=method, method=method, options=options, streams=STREAMS, channels=CHANNELS, classes=classes,
        outputs=outputs, target=target, ignore=255, size=size, height=height, width=width, clips={}, depths=(1.0, 5.0),
    )  # fmt: skip


def predictor_of(task="segment", method="concat", *, seed=0, **kwargs):
    facts = facts_of(task, method, **kwargs)
    torch.manual_seed(seed)
    model = pixels.build(facts.method, dict(facts.channels), facts.outputs, task=facts.task, **facts.options)
    for parameter in model.parameters():  # as built, the head says nearly the same everywhere
        if parameter.ndim > 1 and parameter.std() < 0.03:
            parameter.data *= 8
    return PixelPredictor(model.eval(), facts, STATS)


def run_of(folder, predictor):
    """The run folder of a predictor, without results; its data is not there."""
    run = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    run.write(Config(data=Data(manifest=str(folder / "nowhere.csv"), task=predictor.facts.task)))
    run.write(predictor.facts)
    write_pixel_weights(run, predictor.model, predictor.stats, {"epoch": 1.0})
    return folder


def scene(height=32, width=40, seed=0):
    """Colors, and depth in millimetres with a hole."""
    generator = np.random.default_rng(seed)
    depth = generator.integers(500, 4000, (height, width)).astype(np.uint16)
    depth[:4, :4] = 0
    return {"rgb": generator.integers(0, 256, (height, width, 3)).astype(np.uint8), "depth": depth}
