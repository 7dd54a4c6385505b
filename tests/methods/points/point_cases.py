"""What the contract of detectors is tried on: every method with its `TEST` options, and variants, on ragged noise.

A new file in `sparsefuse/methods/points/` is picked up by itself.
"""

import math

import torch
import torch.nn.functional as F

from sparsefuse.layers.points.backbone import Level
from sparsefuse.layers.points.nouns import Boxes, Camera, Cloud
from sparsefuse.layers.points.picture import PictureSize
from sparsefuse.layers.points.sizes import Size
from sparsefuse.methods.points import build, find, methods

CHANNELS, CLASSES = 2, 3
SIZE = Size(
    16, 2, 24,
    (Level(24, 0.8, 6, (8, 8)), Level(16, 1.2, 4, (8, 12)), Level(8, 2.0, 4, (8, 12)), Level(4, 3.0, 4, (8, 12))),
    PictureSize(12, 2, 8, (3, 4), 5, 0.0), 0.0, 2, 10,
)  # fmt: skip
SIZES = [[1.0, 1.0, 1.0], [2.0, 1.0, 0.5]]
BASE = [(name, find(name).TEST) for name in methods()]
VARIED = [
    ("points", {"sizes": SIZES}),
    ("painted", {"features": 0}),
    ("tokenfusion", {"threshold": 0.7, "target_share": None, "score_penalty": 1e-3}),
    ("tokenfusion", {"threshold": 0.7, "detach": False, "sizes": SIZES}),
]
POINTS = (60, 41, 9)
PICTURES = [[(24, 32), (24, 32)], [(0, 0), (19, 30)], [(0, 0), (0, 0)]]
"""rows and columns of the pictures of each scene"""


def case_id(case):
    return "-".join([case[0], *(f"{k}={v}" for k, v in case[1].items() if find(case[0]).TEST.get(k) != v)])


def model_of(case, *, seed=0, **options):
    """With norms, biases and the last layers of heads that are not at their start, where they would hide mistakes."""
    torch.manual_seed(seed)
    model = build(case[0], CHANNELS, CLASSES, **{"size": SIZE, **case[1], **options})
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape)
        elif parameter.std() < 0.03:
            parameter.data *= 8
    return model.eval()


def cloud(points=POINTS, *, extra=0, seed=1):
    """Points before the cameras, padded with NaN."""
    generator = torch.Generator().manual_seed(seed)
    most = max(points)
    xyz = torch.rand(len(points), most, 3, generator=generator) * torch.tensor([4.0, 3, 2])
    xyz = xyz + torch.tensor([-2.0, 2, -1])
    x = torch.randn(len(points), most, CHANNELS, generator=generator)
    mask = F.pad(torch.arange(most) < torch.tensor(points)[:, None], (0, extra))
    padded = (F.pad(v, (0, 0, 0, extra)).masked_fill(~mask[..., None], math.nan) for v in (xyz, x))
    return Cloud(*padded, mask)


def pictures(sizes=PICTURES, *, extra=0, seed=2):
    """Noise, NaN where nothing is, and its cameras, side by side and looking along y."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (max(size[i] for some in sizes for size in some) + extra for i in (0, 1))
    count = len(sizes[0])
    x = torch.full((len(sizes), count, rows, columns, 3), math.nan)
    pose = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]]).repeat(len(sizes), count, 1, 1)
    for scene, some in enumerate(sizes):
        for i, (height, width) in enumerate(some):
            x[scene, i, :height, :width] = torch.rand(height, width, 3, generator=generator)
            pose[scene, i, 0, 3] = i - 0.5
    K = torch.tensor([[20.0, 0, 15.5], [0, 20, 11.5], [0, 0, 1]]).repeat(len(sizes), count, 1, 1)
    return x, Camera(K, pose, torch.tensor(sizes))


def known():
    """Boxes around some of the points: two, one, none."""
    centre = torch.tensor([[[-0.5, 3, 0], [1, 4, 0]], [[0, 3.5, 0], [0, 0, 0]], [[0, 0, 0]] * 2])
    size = torch.tensor([1.6, 1.2, 1.4]).expand(3, 2, 3)
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    yaw, label = torch.tensor([[0.3, -2.0], [3.0, 0], [0, 0]]), torch.tensor([[0, 2], [1, 0], [0, 0]])
    return Boxes(centre, size, yaw, label, torch.ones(3, 2), mask)


def said(model, *inputs):
    """The numbers of the last head, one after another (B, K, ...)."""
    with torch.no_grad():
        outputs = model(*inputs)
    last = outputs.state.predictions[-1]
    shares = outputs.votes.shares if outputs.votes is not None else last.labels
    return torch.cat([last.objectness[..., None], last.centre, last.bins, last.turns, last.sizes.flatten(2), shares], 2)
