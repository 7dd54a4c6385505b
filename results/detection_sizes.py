"""Writes results/detection_sizes.md: TokenFusion's detector, published and ours, by parameters of its parts.

python results/detection_sizes.py    run from the repository's root; nothing is computed but shapes
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from sparsefuse.files.whole import write_text
from sparsefuse.layers.points.decoder import Decode
from sparsefuse.layers.points.exchange import PointExchange
from sparsefuse.layers.points.picture import PictureBlocks
from sparsefuse.methods.points import build, methods
from sparsefuse.model.points import DetectionModel

OUT = Path("results/detection_sizes.md")
CLASSES, LAYERS = 10, 6
DIM, PICTURE = 288, 192


def main(out: Path = OUT) -> None:
    with torch.device("meta"):
        model = build("tokenfusion", 0, CLASSES)
        others = {(m, s): _count(build(m, 0, CLASSES, size=s)) for m in methods() for s in ("tiny", "small", "ti")}
    own, released = ours(model), published()
    lines = [
        "# Detection: the released networks and ours",
        "",
        f"TokenFusion (L6, O256; Ti) on SUN RGB-D: {CLASSES} classes, sizes predicted by themselves, points without "
        "channels. Released: by the widths in its code, which does not run.",
        "",
        "| part | parameters, released | ours |",
        "|:--|--:|--:|",
        *(f"| {name} | {released[name]:,} | {own[name]:,} |" for name in released),
        f"| all | {sum(released.values()):,} | {sum(own.values()):,} |",
        "",
        "Every part is equal. What differs and has no parameters is named in `sparsefuse/methods/points/`. With 12 "
        "layers ours has 24 blocks for pictures, two a layer; the release has 12 and could not run more than 6 layers.",
        "",
        "Ours in all sizes:",
        "",
        "| method | tiny | small | ti |",
        "|:--|--:|--:|--:|",
        *(f"| {m} | {others[m, 'tiny']:,} | {others[m, 'small']:,} | {others[m, 'ti']:,} |" for m in methods()),
    ]
    write_text(out, "\n".join(lines) + "\n")


def published() -> dict[str, int]:
    """What the released code makes, layer by layer: PyTorch's linear layers have biases, those of PointNet++ none."""

    def linear(*widths: int) -> int:
        return sum(a * b + b for a, b in pairwise(widths))

    def normed(*widths: int) -> int:
        return sum(a * b + 2 * b for a, b in pairwise(widths))

    down = [(3, 64, 64, 128), *((3 + a, 128, 128, 256) for a in (128, 256, 256))]
    up = [(512, 256, 256), (512, 256, DIM)]
    twice = 2 * (linear(DIM, DIM) + 2 * DIM)  # convolutions of 1 with a batch norm
    head = twice + sum(linear(DIM, n) for n in (1, 3, 12, 12, 3, CLASSES))
    attention = linear(DIM, 3 * DIM) + linear(DIM, DIM)
    places = sum(linear(n, DIM) + 2 * DIM + linear(DIM, DIM) for n in (3, 6))
    layer = 2 * attention + linear(DIM, 2048, DIM) + 3 * 2 * DIM + places
    block = 2 * 2 * PICTURE + linear(PICTURE, 3 * PICTURE) + linear(PICTURE, PICTURE) + linear(PICTURE, 768, PICTURE)
    tokens = linear(3 * 16 * 16, PICTURE) + PICTURE * ((1 + 100) + (1 + 50 * 83 + 100))
    flat = 2 * PICTURE + sum(linear(PICTURE, PICTURE, PICTURE, n) for n in (CLASSES + 1, 4))
    score = 2 * DIM + linear(DIM, DIM, DIM // 2, DIM // 4, 2)
    return {
        "points: PointNet++": sum(normed(*widths) for widths in (*down, *up)),
        "points: choice of candidates": twice + linear(DIM, 1),
        "points: decoder": 2 * linear(DIM, DIM) + LAYERS * layer,
        "points: heads": (1 + LAYERS) * head,
        "pictures: tokens": tokens,
        "pictures: blocks": 2 * LAYERS * block,
        "pictures: objects": flat,
        "exchange: scores": LAYERS * score,
        "exchange: projections": LAYERS * linear(PICTURE, PICTURE, PICTURE, DIM),
    }


def ours(model: DetectionModel) -> dict[str, int]:
    """The same of a model."""
    decode = [layer for layer in model.layers if isinstance(layer, Decode)]
    exchange = [layer for layer in model.layers if isinstance(layer, PointExchange)]
    heads = [model.first, *(layer.head for layer in decode)]
    assert model.tokens is not None
    assert model.flat is not None
    return {
        "points: PointNet++": _count(model.backbone),
        "points: choice of candidates": _count(model.sampling),
        "points: decoder": _sum([model.query, model.key, *decode]) - _sum(layer.head for layer in decode),
        "points: heads": _sum(heads),
        "pictures: tokens": _count(model.tokens),
        "pictures: blocks": _sum(layer for layer in model.layers if isinstance(layer, PictureBlocks)),
        "pictures: objects": _count(model.flat),
        "exchange: scores": _sum(layer.score for layer in exchange),
        "exchange: projections": _sum(layer.project for layer in exchange),
    }


def _sum(modules: Iterable[nn.Module]) -> int:
    return sum(map(_count, modules))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


if __name__ == "__main__":
    main()
