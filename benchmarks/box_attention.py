"""How near a detector's candidates look: the share of each decoder layer's attention that falls on seeds within some
metres, beside the share of seeds that lie there.

    python benchmarks/box_attention.py RUN MANIFEST

RUN is a run on clouds, MANIFEST that of its scenes, of whose test split the first are read.
"""

import sys
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsefuse.files.rows import read_table
from sparsefuse.inference.points.predictor import load_points
from sparsefuse.layers.block import CrossAttention, heads
from sparsefuse.layers.points.decoder import Decode
from sparsefuse.layers.points.state import SceneState

SCENES, NEAR = 16, 0.4  # metres


def main() -> None:
    """See the module's docstring."""
    run, manifest = map(Path, sys.argv[1:])
    predictor, sums = load_points(run), dict[int, list[float]]()
    for number, layer in enumerate(m for m in predictor.model.modules() if isinstance(m, Decode)):
        watch(layer, sums.setdefault(number, [0.0, 0.0]))
    rows = (row for row in read_table(manifest).rows if row["split"] == "test")
    for row in islice(rows, SCENES):
        cloud, cameras = (manifest.parent / row[column] for column in ("cloud", "cameras"))
        predictor.predict({"cloud": cloud, "cameras": cameras, "root": manifest.parent})
    for number, (mass, share) in sums.items():
        print(
            f"layer {number}: {mass / SCENES:.1%} of attention within {NEAR} m, where {share / SCENES:.1%} of seeds lie"
        )


def watch(layer: Decode, sums: list[float]) -> None:
    """Adds up, over scenes, the share of attention within NEAR metres of candidates, and that of seeds."""
    seen: list[SceneState] = []

    def before(_: nn.Module, given: tuple[SceneState]) -> None:
        seen[:] = given

    def attended(cross: CrossAttention, given: tuple[Tensor, Tensor, Tensor], _: Tensor) -> None:
        x, source, _mask = given
        (q,), (k, _v) = heads(cross.q(x), 1, cross.num_heads), heads(cross.kv(source), 2, cross.num_heads)
        weight = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1).mean(1)  # (B, K, S)
        near = torch.cdist(seen[0].candidates.xyz, seen[0].seeds.xyz) < NEAR
        sums[0] += float((weight * near).sum(-1).mean())
        sums[1] += float(near.double().mean())

    layer.register_forward_pre_hook(before)
    layer.cross.register_forward_hook(attended)


if __name__ == "__main__":
    main()
