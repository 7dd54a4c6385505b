"""A folder per stream: pictures of one name are one sample, such as rgb/0001.jpg, depth/0001.png, label/0001.png.

Layout: <stream>/<name>.<suffix>, below train, valid (or val) and test (train/rgb/0001.png), above them
(rgb/train/0001.png), or with lists train.txt, val.txt, test.txt beside the folders, a sample's name or files a line.
Suffixes: .png .jpg .tif .webp .bmp .pgm .ppm .npy .npz .h5 .mat
"""

from pathlib import Path

from sparsefuse.config.pixels import PixelTask
from sparsefuse.data.formats._scenes import (
    NORMALS,
    finish_scenes,
    folders,
    label_folder,
    rows_of,
    without_answers,
)


def prepare(source: Path, out: Path, *, label: str = "", task: PixelTask = "segment") -> Path:
    """Writes a manifest that points at the pictures where they are, and segment.yaml or translate.yaml.

    `label`: the folder of label pictures, or of those to translate to; else the first of label, labels, mask, masks,
    seg, segmentation, gt, target, targets. `task`: segment or translate. A folder normal or normals holds normals; what
    others hold the files say (16 bits, or fractions: depth). A sample without a label picture is in skipped.jsonl. For
    segment other folders of those names are no streams: they would give the answer away.
    """
    samples = folders("pictures", source, out)
    label = label_folder("pictures", source, samples.values(), label)
    if task == "segment":
        samples = without_answers("pictures", samples, label)
    rows, skips = rows_of(samples, label, out)
    more = {"target": {"kind": "normal"}} if task == "translate" and label in NORMALS else {}
    return finish_scenes("pictures", out, rows, skips, label=label, task=task, more=more)
