"""Preprocesses frames for an image model: resized, cropped and normalised as its checkpoint says.

Done with torch, since the image processors of `transformers` need torchvision or Pillow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_MODES = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}  # as Pillow numbers them


@dataclass(frozen=True)
class Pictures:
    """How pixels are prepared; sizes are (height, width)."""

    size: tuple[int, int] | None
    """the size that a frame is squeezed to"""
    short: int | None
    """else the length of its shorter side; both None = as it is"""
    crop: tuple[int, int] | None
    """of the centre crop"""
    mode: str
    scale: float
    """factor on pixels of 0 to 255"""
    offset: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def output_size(self) -> tuple[int, int] | None:
        """The size of the prepared frames, if it does not depend on their shape."""
        return self.crop or self.size

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """(T, H, W, 3) uint8 to (T, 3, height, width) float32."""
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        size = self._resized(x.shape[2], x.shape[3])
        if size != tuple(x.shape[2:]):
            options = {} if self.mode == "nearest-exact" else {"antialias": True, "align_corners": False}
            x = functional.interpolate(x, size=size, mode=self.mode, **options)
        if self.crop:
            x = _cropped(x, *self.crop)
        x = x.float() * self.scale + self.offset
        return (x - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.short is None:
            return self.size or (height, width)
        if height <= width:
            return self.short, int(self.short * width / height)
        return int(self.short * height / width), self.short


def pictures(model: str, settings: Mapping[str, Any]) -> Pictures:
    """Reads a checkpoint's preprocessor_config.json. Raises ValueError for settings that are not supported."""
    resample = settings.get("resample", 2)
    if resample not in _MODES:
        raise ValueError(f"model {model!r}: resample is {resample}, expected one of {sorted(_MODES)}")
    normal = settings.get("do_normalize", True)
    needed = ["image_mean", "image_std"] if normal else []
    needed += ["size"] if settings.get("do_resize", True) else []
    needed += ["crop_size"] if settings.get("do_center_crop") else []
    for name in needed:
        if name not in settings:
            raise ValueError(f"model {model!r}: its preprocessor_config.json has no {name}")
    size, short, crop = _sizes(model, settings)
    return Pictures(
        size=size,
        short=short,
        crop=crop,
        mode=_MODES[resample],
        scale=settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0,
        offset=-1.0 if settings.get("offset") else 0.0,
        mean=tuple(settings["image_mean"]) if normal else (0.0, 0.0, 0.0),
        std=tuple(settings["image_std"]) if normal else (1.0, 1.0, 1.0),
    )


def _sizes(
    model: str, settings: Mapping[str, Any]
) -> tuple[tuple[int, int] | None, int | None, tuple[int, int] | None]:
    """(size, short, crop)."""
    crop = _pair(settings["crop_size"]) if settings.get("do_center_crop") else None
    if not settings.get("do_resize", True):
        return None, None, crop
    size = settings["size"]
    # Old checkpoints give one number: the shorter side where a square is cut out after, else a square.
    short = size.get("shortest_edge") if isinstance(size, Mapping) else (size if crop else None)
    if short and "crop_pct" in settings:  # ConvNeXt
        square = (short, short)
        return (square, None, None) if short >= 384 else (None, int(short / settings["crop_pct"]), square)
    if short:
        return None, short, crop
    if isinstance(size, Mapping) and not {"height", "width"} <= set(size):
        raise ValueError(f"model {model!r}: size is {dict(size)}, expected height and width, or shortest_edge")
    return _pair(size), None, crop


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        return (size["height"], size["width"]) if "height" in size else (size["shortest_edge"], size["shortest_edge"])
    return size, size


def _cropped(x: Tensor, height: int, width: int) -> Tensor:
    """The middle of (T, 3, H, W), with zeros around what is too small."""
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    if top < 0 or left < 0:
        up, aside = max(0, -top), max(0, -left)
        x = functional.pad(x, (aside, max(0, width - x.shape[3] - aside), up, max(0, height - x.shape[2] - up)))
        top, left = max(0, top), max(0, left)
    return x[:, :, top : top + height, left : left + width]
