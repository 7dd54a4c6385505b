"""Changes a training scene at random: where its pixels are, in all its pictures alike; then each stream by itself.

Fields are normalised, so 0 is a stream's mean. Every draw is of one generator.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from sparsefuse.config.pixels import PictureStream, Pixels
from sparsefuse.data.pixels.read import unit
from sparsefuse.data.pixels.resize import resized, resized_labels
from sparsefuse.data.pixels.scenes import Scene

HOLE = (0.25, 0.5)
"""sides of a hole, as shares of the picture's"""


def augment(
    scene: Scene,
    streams: Mapping[str, PictureStream],
    pixels: Pixels,
    generator: torch.Generator,
    *,
    dropout: float = 0.0,
) -> Scene:
    """The scene scaled, flipped, jittered and with holes as `pixels` and `streams` say, and in its own size.

    `streams`: of the run, none with kind auto. `dropout`: probability with which a stream is hidden; one that the scene
    has always stays. What scaling leaves empty is 0, in labels the number that is ignored, in a target picture NaN.
    """
    if pixels.scale != (1.0, 1.0):
        scene = _scaled(scene, streams, pixels, generator)
    if pixels.flip and _draw(generator) < pixels.flip:
        scene = _flipped(scene, streams, pixels)
    fields = {name: _jittered(x, streams[name], generator) for name, x in scene.fields.items()}
    if pixels.holes:
        for name, x in fields.items():
            if _draw(generator) < pixels.holes:
                fields[name] = holed(x, generator)
    if dropout:
        fields = _dropped(fields, dropout, generator)
    return scene._replace(fields=fields)


def _draw(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _scaled(scene: Scene, streams: Mapping[str, PictureStream], pixels: Pixels, generator: torch.Generator) -> Scene:
    """A window enlarged to the whole; or the whole made smaller, with a border."""
    size = height, width = int(scene.target.shape[0]), int(scene.target.shape[1])
    factor = _draw(generator, *pixels.scale)
    inner = [max(1, round(side / factor if factor >= 1 else side * factor)) for side in size]
    top, left = (int(_draw(generator, 0, side - part + 1 - 1e-6)) for side, part in zip(size, inner, strict=True))
    labels = scene.target.ndim == 2
    known = labels or not bool(scene.target.isnan().any())

    def placed(x: Tensor, kind: str, empty: float) -> Tensor:
        """`kind`: empty for what has no values in between"""

        def fitted(x: Tensor, height: int, width: int) -> Tensor:
            return resized(x, kind, height, width) if kind else resized_labels(x, height, width)

        if factor >= 1:
            return fitted(x[top : top + inner[0], left : left + inner[1]], *size)
        border = (left, width - left - inner[1], top, height - top - inner[0])
        return functional.pad(fitted(x, *inner), (0, 0, *border) if x.ndim == 3 else border, value=empty)

    shown = "normal" if pixels.target.kind == "normal" else "color"
    target = placed(scene.target, "" if labels or not known else shown, pixels.ignore if labels else torch.nan)
    fields = {name: placed(x, streams[name].kind, 0) for name, x in scene.fields.items()}
    return scene._replace(fields=fields, target=target)


def _flipped(scene: Scene, streams: Mapping[str, PictureStream], pixels: Pixels) -> Scene:
    """Left and right swapped; in a mirror, normals point to the other side."""
    fields = {name: _mirrored(x, streams[name].kind) for name, x in scene.fields.items()}
    target = _mirrored(scene.target, "" if scene.target.ndim == 2 else pixels.target.kind)
    return scene._replace(fields=fields, target=target)


def _mirrored(x: Tensor, kind: str) -> Tensor:
    x = x.flip(1)
    return x * x.new_tensor([-1, 1, 1]) if kind == "normal" else x


def _jittered(x: Tensor, stream: PictureStream, generator: torch.Generator) -> Tensor:
    """Contrast, then brightness, then noise; of depth only where it was measured."""
    if not (stream.contrast or stream.brightness or stream.noise):
        return x
    values, real = (x[..., :1], x[..., 1:]) if stream.kind == "depth" else (x, torch.ones(()))
    mean = (values * real).sum((0, 1)) / (real * torch.ones(values.shape[:2])[..., None]).sum((0, 1)).clamp_min(1)
    values = (values - mean) * (1 + stream.contrast * _draw(generator, -1, 1)) + mean
    values = values + stream.brightness * _draw(generator, -1, 1)
    values = (values + stream.noise * torch.randn(values.shape, generator=generator)) * real
    if stream.kind == "depth":
        return torch.cat([values, real], -1)
    return unit(values) if stream.kind == "normal" else values


def holed(x: Tensor, generator: torch.Generator) -> Tensor:
    """Without a rectangle: 0, and of depth not measured."""
    height, width = (max(1, round(side * _draw(generator, *HOLE))) for side in x.shape[:2])
    top = int(_draw(generator, 0, x.shape[0] - height + 1 - 1e-6))
    left = int(_draw(generator, 0, x.shape[1] - width + 1 - 1e-6))
    x = x.clone()
    x[top : top + height, left : left + width] = 0
    return x


def _dropped(fields: Mapping[str, Tensor], dropout: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Without each stream with that probability; the one that drew the largest number stays."""
    draws = dict(zip(sorted(fields), torch.rand(len(fields), generator=generator).tolist(), strict=True))
    stays = max(draws, key=lambda name: draws[name])
    return {name: x for name, x in fields.items() if draws[name] >= dropout or name == stays}
