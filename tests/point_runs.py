"""Small runs on clouds that were never trained: what predictors, exports and pages are tried on."""

import json

import numpy as np
import torch

from pngs import write_png
from sparsefuse.config import Config, Data
from sparsefuse.config.points import Points
from sparsefuse.data.points.sample import num_channels
from sparsefuse.data.points.scenes import PICTURES
from sparsefuse.inference.points.predictor import PointPredictor
from sparsefuse.methods import points
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.point_facts import PointFacts
from sparsefuse.runs.point_weights import write_point_weights

CLASSES = ["crate", "drum"]
STATS = {PICTURES: (torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.2, 0.2]))}
K = [[30.0, 0, 19.5], [0, 30, 15.5], [0, 0, 1]]
POSE = [[1.0, 0, 0, 0], [0, 0, 1, -1], [0, -1, 0, 1], [0, 0, 0, 1]]
"""looks along y"""


def facts_of(method="tokenfusion", *, channels=("height",), num_points=256, frames=None, classes=CLASSES):
    options = {"size": "tiny", "proposals": 8}
    if method == "tokenfusion":
        options["threshold"] = 0.9  # untrained scores are near a half
    return PointFacts(
        task="detect", name=method, method=method, options=options, channels=list(channels),
        classes=list(classes), num_points=num_points, points=num_points, frames=frames, pictures=2, size=(32, 40),
        height=0, width=0, clips={},
    )  # fmt: skip


def predictor_of(method="tokenfusion", *, seed=0, **kwargs):
    facts = facts_of(method, **kwargs)
    torch.manual_seed(seed)
    model = points.build(facts.method, num_channels(facts.channels), len(facts.classes), **facts.options)
    for norm in model.modules():  # as after training, more or less
        if isinstance(norm, torch.nn.BatchNorm1d):
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.5, 1.5)
    return PointPredictor(model.eval(), facts, STATS)


def run_of(folder, predictor):
    """The run folder of a predictor, without results; its data is not there."""
    run = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    facts = predictor.facts
    read = Points(channels=facts.channels, num_points=facts.num_points, frames=facts.frames)
    run.write(Config(data=Data(manifest=str(folder / "nowhere.csv"), task="detect"), points=read))
    run.write(facts)
    write_point_weights(run, predictor.model, predictor.stats, {"epoch": 1.0})
    return folder


def cloud(count=300, seed=0):
    """(N, 6) points of a floor and a block on it, with colors from 0 to 1."""
    random = np.random.default_rng(seed)
    floor = np.concatenate([random.uniform((-2, 0), (2, 4), (count // 2, 2)), np.zeros((count // 2, 1))], 1)
    block = random.uniform((0, 2, 0), (1, 3, 1), (count - count // 2, 3))
    return np.concatenate([np.concatenate([floor, block]), random.uniform(0, 1, (count, 3))], 1).astype(np.float32)


def camera(picture="rgb/a.png", height=32, width=40):
    return {"picture": picture, "size": [height, width], "K": K, "pose": POSE}


def picture(seed=0, height=32, width=40):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def scenes_in(folder, names=("a", "b")):
    """Files of scenes as `generate rooms --clouds` lays them out, with a manifest."""
    lines = ["id,split,cloud,cameras,boxes"]
    for i, name in enumerate(names):
        values = cloud(seed=i)
        for part in ("cloud", "cameras", "boxes"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"cloud/{name}.npz", xyz=values[:, :3], rgb=(255 * values[:, 3:]).astype(np.uint8))
        write_png(folder / f"rgb/{name}.png", picture(i))
        box = {"class": "crate", "centre": [0.5, 2.5, 0.5], "size": [1, 1, 1], "yaw": 0.0}
        (folder / f"cameras/{name}.json").write_text(json.dumps([camera(f"rgb/{name}.png")]))
        (folder / f"boxes/{name}.json").write_text(json.dumps([box, box | {"class": "drum", "yaw": 0.5}]))
        split = ("train", "test")[i % 2]
        lines.append(f"{name},{split},cloud/{name}.npz,cameras/{name}.json,boxes/{name}.json")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"
