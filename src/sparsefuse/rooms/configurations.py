"""Configurations that train on a folder of rooms as they are."""

from pathlib import Path

from sparsefuse.rooms.names import CLASSES

TRAIN = """\
method: sft
options:
  all: {size: tiny}
train:
  epochs: 16
  batch_size: 32
  lr: 0.002
  schedule: cosine
  warmup_epochs: 1
  weight_decay: 0.01
  clip: 1.0
  mixup_alpha: 0
"""
"""For pictures of some 64 x 64 and a thousand scenes."""


def configurations(out: Path, scenes: int, size: int, seed: int, clouds: bool) -> dict[str, str]:
    """Name of the file -> its text."""
    flags = f" --seed {seed}" * (seed != 0) + " --clouds" * clouds
    made = f"sparsefuse generate rooms --out {out.name or '.'} --scenes {scenes} --size {size}{flags}"
    return {"segment.yaml": _segment(made), "translate.yaml": _translate(made)}


def _segment(made: str) -> str:
    return f"""\
# Generated rooms: a class per pixel, from colour and depth, of which neither tells all.
# {made}
# sparsefuse train segment.yaml --out runs/segment
# sparsefuse compare segment.yaml --out runs/compare
data:
  manifest: manifest.csv
  task: segment
  modalities: [depth, rgb]
pixels:
  streams:
    depth: {{kind: depth, unit: 0.001}}
    rgb: {{kind: color, brightness: 0.2, contrast: 0.2}}
  classes: [{", ".join(CLASSES)}]
  flip: 0.5
{TRAIN}"""


def _translate(made: str) -> str:
    return f"""\
# Generated rooms: the colours of a picture, from light, patterns and edges. Pattern gives the hue, shape the lightness.
# {made}
# sparsefuse train translate.yaml --out runs/translate
# --data.modalities [shade,texture] and any others of edges, shade, texture, depth, normal; --data.label rgb has the
# camera's noise, glare and darkness, which no stream foretells
data:
  manifest: manifest.csv
  task: translate
  modalities: [edges, shade, texture]
  label: clear
pixels:
  target: {{kind: color}}
  flip: 0.5
{TRAIN}"""
