"""Writes results/pixel_sizes.md: TokenFusion's networks on pixels, published and ours, by parameters and multiply-adds.

python results/pixel_sizes.py    run from the repository's root; nothing is computed but shapes
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from sparsefuse.cost.count import multiply_adds
from sparsefuse.files.whole import write_text
from sparsefuse.layers.pixels.discriminator import Discriminator
from sparsefuse.methods.pixels import build
from sparsefuse.tokens import Field

OUT = Path("results/pixel_sizes.md")
STREAMS = {"color": 3, "depth": 3}
SEGMENTED, TRANSLATED = (480, 640), (256, 256)


class Row(NamedTuple):
    """A network of the release: what its code, run, was found to have."""

    network: str
    size: str
    parameters: int
    gmacs: float
    """billions of multiply-adds of one sample with both streams, rounded to the digits stated"""


ROWS = [
    Row("segmentation", "b0", 4_048_794, 19.6),
    Row("segmentation", "b2", 26_018_426, 65.6),
    Row("segmentation", "b3", 45_917_306, 110.2),
    Row("generator", "b0", 17_609_257, 9.13),
    Row("generator", "b2", 131_105_593, 64.7),
    Row("discriminator", "b0", 12_173_345, 5.13),
    Row("discriminator", "b2", 85_290_433, 35.3),
]


def main(out: Path = OUT) -> None:
    lines = [
        "# TokenFusion on pixels: the released networks and ours",
        "",
        "Two streams of three channels, one sample. Segmentation: 480 x 640, 40 classes; generator and discriminator: "
        "256 x 256. A multiply-add is 1; norms, activations, softmax and enlarging are left out.",
        "",
        "| network | size | parameters, released | ours | GMACs, released | ours |",
        "|:--|:--|--:|--:|--:|--:|",
    ]
    for row in ROWS:
        parameters, gmacs = counted(row)
        lines.append(
            f"| {row.network} | {row.size} | {row.parameters:,} | {parameters:,} | {row.gmacs:g} | {gmacs:.3f} |"
        )
    lines += [
        "",
        "Parameters are equal. Multiply-adds are equal in the digits that are known. What differs and costs nothing: "
        "the head of segmentation has a LayerNorm where the release has a batch norm that stays at its first "
        "statistics; scores multiply what attention reads (the paper's eq. 4), not what it gives; the weights of the "
        "average are trained. Streams of other numbers of channels have first patches of their own.",
    ]
    write_text(out, "\n".join(lines) + "\n")


def counted(row: Row) -> tuple[int, float]:
    """Our parameters, and billions of multiply-adds."""
    with torch.device("meta"):
        network = made(row).eval()
        rows, columns = SEGMENTED if row.network == "segmentation" else TRANSLATED
        mask = torch.ones(1, rows, columns, dtype=torch.bool)
        fields = {name: Field(torch.empty(1, rows, columns, channels), mask) for name, channels in STREAMS.items()}
        if row.network == "discriminator":
            macs = multiply_adds(lambda: network(fields, {name: field.x for name, field in fields.items()}))
        else:
            macs = multiply_adds(lambda: network(fields))
    return sum(parameter.numel() for parameter in network.parameters()), macs / 1e9


def made(row: Row) -> nn.Module:
    if row.network == "discriminator":
        return Discriminator(STREAMS, 3, size=row.size)
    if row.network == "generator":
        return build("tokenfusion", STREAMS, 3, task="translate", size=row.size)
    return build("tokenfusion", STREAMS, 40, size=row.size)


if __name__ == "__main__":
    main()
