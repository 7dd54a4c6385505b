"""A folder per stream: pictures of one name are one sample, such as rgb/0001.jpg, depth/0001.png, label/0001.png.

Layout: <stream>/<name>.<suffix>, below train, valid (or val) and test (train/rgb/0001.png), above them
(rgb/train/0001.png), or with lists train.txt, val.txt, test.txt beside the folders, a sample's name or files a line.
Suffixes: .png .jpg .tif .webp .bmp .pgm .ppm .npy .npz .h5 .mat
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from sparsefuse.config.pixels import PixelTask
from sparsefuse.data.formats._scenes import (
    LABELS,
    NORMALS,
    Sample,
    finish_scenes,
    folders,
    label_folder,
    rows_of,
)

log = logging.getLogger(__name__)


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
        samples = _without_answers(samples, label)
    rows, skips = rows_of(samples, label, out)
    more = {"target": {"kind": "normal"}} if task == "translate" and label in NORMALS else {}
    return finish_scenes("pictures", out, rows, skips, label=label, task=task, more=more)


def _without_answers(samples: Mapping[str, Sample], label: str) -> dict[str, Sample]:
    """The samples without other folders of labels."""
    others = sorted({name for sample in samples.values() for name in sample.files if name in LABELS} - {label})
    if others:
        log.warning("pictures: %s %s no stream, because of the name; rename what is no label, and prepare again",
                    " and ".join(others), "is" if len(others) == 1 else "are")  # fmt: skip
    return {
        id: sample._replace(files={name: path for name, path in sample.files.items() if name not in others})
        for id, sample in samples.items()
    }
