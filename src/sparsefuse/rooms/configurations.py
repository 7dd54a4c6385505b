"""Configurations that train on a folder of rooms as they are."""

from pathlib import Path

from sparsefuse.rooms.names import CLASSES
from sparsefuse.rooms.settings import Settings
from sparsefuse.shown import shown

TRAIN = """\
train:
  epochs: 16
  batch_size: 16
  lr: 0.002
  schedule: cosine
  warmup_epochs: 0.5
  weight_decay: 0.01
  clip: 1.0
  mixup_alpha: 0
"""
"""For pictures of some 64 x 64 and a thousand scenes."""


def configurations(out: Path, scenes: int, settings: Settings) -> dict[str, str]:
    """Name of the file -> its text."""
    flags = f" --seed {settings.seed}" * (settings.seed != 0) + " --clouds" * (settings.frames > 0)
    flags += f" --frames {settings.frames}" * (settings.frames > 1)
    made = f"sparsefuse generate rooms --out {shown(out.name) or '.'} --scenes {scenes} --size {settings.size}{flags}"
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
method: sft
options:
  all: {{size: tiny}}
  tokenfusion: {{shared: none, loss: mean}} # so small an encoder cannot read colour and depth alike
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
method: sft
options:
  all: {{size: tiny}}
{TRAIN}"""
