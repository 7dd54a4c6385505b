"""AV-MNIST: a written and a spoken digit, paired by their label.

MNIST images (LeCun et al. 1998) and the Free Spoken Digit Dataset (<digit>_<speaker>_<take>.wav, 8 kHz).
Layout: *images-idx3-ubyte.gz, *labels-idx1-ubyte.gz, fsdd_wav/*.wav.
"""

import gzip
import logging
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from sparsefuse.data.formats import demand
from sparsefuse.data.formats._media import refer
from sparsefuse.files.declared import beyond, check_bytes
from sparsefuse.files.rows import write_table
from sparsefuse.files.whole import replacing

log = logging.getLogger(__name__)


def prepare(source: Path, out: Path) -> Path:
    """Pairs every spoken take with the next unused image of its digit; stops pairing a digit when images run out.

    Writes image/<id>.npy, (28, 28): one token per row of pixels, 0 to 1. The column `audio` points at the wav where
    it is; `sparsefuse extract` makes the spectrogram. The speaker is a column, not a group: splits are stratified.
    """
    names = demand("av_digits", source, "*images-idx3-ubyte.gz", "*labels-idx1-ubyte.gz", "fsdd_wav")
    images, labels = _read_idx(names[0], 3), _read_idx(names[1], 1)
    if len(images) != len(labels):
        raise ValueError(f"{names[0]} holds {len(images)} images, but {names[1]} holds {len(labels)} labels")
    unused = {digit: iter(np.flatnonzero(labels == digit).tolist()) for digit in range(10)}
    folder = refer(names[2], out)
    rows = []
    for wav in sorted(names[2].glob("*.wav")):
        take = re.fullmatch(r"(\d)_(.+)_(\d+)", wav.stem)
        index = next(unused[int(take[1])], None) if take else None
        if take is None or index is None:
            log.warning("%s is left out: %s", wav.name, "no image is left" if take else "not <digit>_<speaker>_<take>")
            continue
        with replacing(out / "image" / f"{wav.stem}.npy", durable=False) as path:
            np.save(path, images[index].astype(np.float32) / 255)
        audio = f"{folder}/{wav.name}"
        image = f"image/{wav.stem}.npy"
        rows.append({"id": wav.stem, "audio": audio, "image": image, "label": take[1], "speaker": take[2]})
    if not rows:
        raise FileNotFoundError(f"{names[2]} has no <digit>_<speaker>_<take>.wav")
    return write_table(out / "manifest.csv", rows)


def _read_idx(path: Path, axes: int) -> np.ndarray:
    """The uint8 array of an idx file: two zero bytes, type 8, the number of axes, their sizes, the values."""
    try:
        with gzip.open(path) as file:
            content = file.read(path.stat().st_size + beyond() + 1)
        check_bytes(len(content), path.stat().st_size, f"{path}: its content")
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: truncated or not a gzip file ({error})") from error
    head = 4 + 4 * axes
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) < head:
        raise ValueError(f"{path}: not an idx file of bytes with {axes} axes")
    shape = struct.unpack(f">{axes}I", content[4:head])
    values = np.frombuffer(content, np.uint8, offset=head)
    if values.size != np.prod(shape):
        raise ValueError(f"{path}: holds {values.size} values, its header says {shape}")
    return values.reshape(shape)
