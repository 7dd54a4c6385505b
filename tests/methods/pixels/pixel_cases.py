"""What the contract of methods on pixels is tried on: every method with its `TEST` options, variants and the other
task, which are slow tests, and a ragged batch of noise.

A new file in `sparsefuse/methods/pixels/` is picked up by itself.
"""

import torch
import torch.nn.functional as F

from sparsefuse.layers.pixels.sizes import Size
from sparsefuse.methods.pixels import build, find, methods
from sparsefuse.tokens import Field

STREAMS = {"rgb": 3, "depth": 2, "normal": 3}  # not in alphabetical order
OUT = 3
SIZE = {
    "segment": Size((8, 16), (1, 1), (1, 2), (2, 1), ((7, 4), (3, 2)), head_dim=8),
    "translate": Size((8, 12, 16), (1, 1, 1), (1, 2, 2), (4, 2, 1), ((3, 2),) * 3),
}
VARIANTS = {
    "tokenfusion": [
        {"shared": "none", "target_share": None},
        {"shared": "all", "loss": "mean"},
        {"channel_threshold": 1.5, "channel_penalty": 0.1},
        {"channel_threshold": 1.0, "channel_penalty": 0.1, "channel_target_share": 0.4},
    ],
    "unimodal": [{"stream": "normal"}],
    "late": [{"shared": "all"}, {"shared": "all_but_norm", "loss": "mean"}],
    "mbt": [{"shared": "all_but_norm", "loss": "each"}],
    "sft": [{"unimodal_depth": 0}],
}
BASE = [(name, {"task": "segment", **find(name).TEST}) for name in methods()]
BASE += [("tokenfusion", {"task": "translate", **find("tokenfusion").TEST})]
VARIED = [(name, {"task": "segment", **find(name).TEST, **options}) for name in VARIANTS for options in VARIANTS[name]]
VARIED += [(name, {"task": "translate", **find(name).TEST}) for name in methods() if name != "tokenfusion"]
# Rows and columns of each sample; the streams that it lacks.
SIZES = [(20, 22), (9, 13), (11, 6), (20, 22)]
LACKS = [(), ("depth",), ("rgb",), ("rgb", "normal")]


def case_id(case):
    return "-".join([case[0], *(f"{k}={v}" for k, v in case[1].items() if find(case[0]).TEST.get(k) != v)])


def model_of(case, *, streams=STREAMS, seed=0):
    name, options = case
    torch.manual_seed(seed)
    return rough(build(name, streams, OUT, **{"size": SIZE[options["task"]], **options})).eval()


def rough(model):
    """With biases, norms and projections that are not at their start, where they would hide mistakes."""
    for parameter in model.parameters():
        if parameter.ndim == 1 and len(parameter) > 4:
            parameter.data += 0.2 * torch.randn(parameter.shape)
        elif parameter.ndim > 1 and parameter.std() < 0.03:
            parameter.data *= 8
    return model


def pictures(sizes=SIZES, lacks=LACKS, *, streams=STREAMS, seed=1, extra=0):
    """Noise, padded to the largest, and by `extra`, with NaN: whatever reads it shows."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (max(size[i] for size in sizes) for i in (0, 1))
    batch = {}
    for name, channels in streams.items():
        x = torch.randn(len(sizes), rows, columns, channels, generator=generator)
        mask = torch.zeros(len(sizes), rows, columns, dtype=torch.bool)
        for i, (height, width) in enumerate(sizes):
            mask[i, :height, :width] = name not in lacks[i]
        x, mask = F.pad(x, (0, 0, 0, extra, 0, extra)), F.pad(mask, (0, extra, 0, extra))
        batch[name] = Field(x.masked_fill(~mask[..., None], float("nan")), mask)
    return batch


def whole(count=2, *, size=(16, 24), **kwargs):
    """Samples of one size that lack nothing."""
    return pictures([size] * count, [()] * count, **kwargs)


def logits_of(model, batch, **kwargs):
    with torch.no_grad():
        return model(batch, **kwargs).logits


def real(logits, i):
    """The logits of sample i of `SIZES` where its picture is."""
    height, width = SIZES[i]
    return logits[i, :height, :width]
