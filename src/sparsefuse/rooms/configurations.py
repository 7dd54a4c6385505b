"""Configurations that train on a folder of rooms as they are."""

from pathlib import Path

from sparsefuse.rooms.names import CLASSES, OBJECTS
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
    made_of = {"segment.yaml": _segment(made), "translate.yaml": _translate(made)}
    return made_of | ({"detect.yaml": _detect(made, settings)} if settings.frames else {})


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


def _detect(made: str, settings: Settings) -> str:
    frames = ",".join(map(str, range(settings.frames + 1)))
    return f"""\
# Generated rooms: boxes around objects, from points and pictures. Crate and cabinet have one shape, and so have
# drum and pillar: points alone end near an mAP@.25 of .6, the paint in pictures tells the rest.
# {made}
# sparsefuse train detect.yaml --out runs/detect
# sparsefuse compare detect.yaml --out runs/compare
# sparsefuse ablate detect.yaml --option points.frames --values {frames} --out runs/frames
data:
  manifest: manifest.csv
  task: detect
points:
  classes: [{", ".join(CLASSES[label] for label in OBJECTS)}]
  num_points: 2048
  flip: 0.5
  rotate: 15
  scale: [0.9, 1.1]
method: painted
options:
  all: {{size: tiny}}
train:
  epochs: 24
  batch_size: 8
  lr: 0.004
  schedule: cosine
  warmup_epochs: 0.5
  weight_decay: 0.01
  clip: 1.0
  mixup_alpha: 0
"""
