"""Prediction on pixels: a run and pictures by stream in; a class per pixel, or a picture, out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.config.pixels import Kind, PictureStream
from sparsefuse.data.pixels.read import as_picture, normalised, raw, read_picture, unit
from sparsefuse.data.pixels.resize import resized
from sparsefuse.errors import unknown
from sparsefuse.files.skipped import Unusable, one_file
from sparsefuse.inference.pixels.prediction import PixelPrediction, label_type
from sparsefuse.inference.pixels.tiles import Strip, strips
from sparsefuse.model.pixels import PixelModel
from sparsefuse.parallel.devices import device_of
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.pixel_weights import PictureStats, load_pixel_model
from sparsefuse.shown import said
from sparsefuse.tokens import Field

Picture = np.ndarray | Tensor | str | Path
"""A file, or an array (H, W) or (H, W, C): colors as uint8 or from 0 to 1, depth in the unit that the run states;
where it states none, millimetres as whole numbers, or metres as fractions."""
Pictures = Mapping[str, Picture]
"""One scene: a picture by stream, all of one size."""

CHUNK = 16
"""scenes that are read before the model sees them"""
ROOM = 2**20
"""pixels of a batch; a larger scene is a batch alone"""
NOT_GIVEN = "not given"
"""why a stream is missing that the scene does not have"""
LARGE = 1.5
"""sides longer than this many times the trained ones are cut into tiles"""


class Present(NamedTuple):
    """One scene that was read."""

    fields: dict[str, Tensor]
    """stream -> (H, W, F), as large as the model sees it, normalised"""
    size: tuple[int, int]
    """rows and columns of the files"""
    missing: dict[str, str]


def load_pixels(run: str | Path, *, device: str = "cpu") -> "PixelPredictor":
    """Loads the best model of a run folder of a task on pixels; see `inference.load`."""
    loaded = load_pixel_model(RunFolder(Path(run)))
    return PixelPredictor(loaded.model.to(device_of(device)).eval(), loaded.facts, loaded.stats)


class PixelPredictor:
    """A trained model with its classes, normalisation and how its pictures are read."""

    def __init__(self, model: PixelModel, facts: PixelFacts, stats: PictureStats):
        self.model, self.facts, self.stats = model, facts, stats

    @property
    def streams(self) -> list[str]:
        """Names of the streams that the model reads."""
        return list(self.model.reads)

    @property
    def resize(self) -> tuple[int, int] | None:
        """Rows and columns that the model sees of any picture; None = as many as it has."""
        return (self.facts.height, self.facts.width) if self.facts.height else None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def predict(self, scenes: Pictures | Sequence[Pictures]) -> PixelPrediction | list[PixelPrediction]:
        """One prediction for one scene, a list for a list.

        Raises Unusable for a scene of which no stream can be read, whose pictures differ in size, or whose output is
        not finite, the first of a list (`results` gives those of the others); ValueError for unknown streams.
        """
        found = []
        for result in self.results([scenes] if isinstance(scenes, Mapping) else scenes):
            if isinstance(result, Unusable):
                raise result
            found.append(result)
        return found[0] if isinstance(scenes, Mapping) else found

    def results(self, scenes: Iterable[Pictures]) -> Iterator[PixelPrediction | Unusable]:
        """For each scene its prediction, or why there is none, in their order. A scene that fails stops no other."""
        scenes = iter(scenes)
        while some := list(islice(scenes, CHUNK)):
            yield from self._together(some)

    def _together(self, scenes: Sequence[Pictures]) -> list[PixelPrediction | Unusable]:
        """The results of a few scenes; those of one size go together."""
        found: dict[int, PixelPrediction | Unusable] = {}
        by_size: dict[tuple[int, int], list[tuple[int, Present]]] = {}
        for place, scene in enumerate(scenes):
            try:
                present = self.read(scene)
            except Unusable as error:
                found[place] = error
            else:
                by_size.setdefault(_size(present.fields), []).append((place, present))
        for (height, width), group in by_size.items():
            most = max(1, ROOM // (height * width))
            for i in range(0, len(group), most):
                part = group[i : i + most]
                places = [place for place, _ in part]
                found |= zip(places, self._batch([present for _, present in part]), strict=True)
        return [found[place] for place in range(len(scenes))]

    def read(self, scene: Pictures) -> Present:
        """The pictures of a scene as the model sees them. Raises Unusable and ValueError; see `predict`."""
        if not isinstance(scene, Mapping):
            what = type(scene).__name__
            raise ValueError(
                f"a scene is {what}; expected a picture per stream: {{{self.streams[0]!r}: path or array}}"
            )
        for name in scene:
            if name not in self.model.streams:
                raise ValueError(unknown("stream", name, self.model.streams))
        fields: dict[str, Tensor] = {}
        missing: dict[str, str] = {}
        for name in self.model.reads:
            try:
                if name not in scene:
                    raise Unusable(NOT_GIVEN)
                fields[name] = _pixels(scene[name], self.facts.stream(name), name)
            except Unusable as error:
                missing[name] = str(error).removeprefix(f"{name}: ")  # of an array, which has no other name
        if not fields:
            raise Unusable("; ".join(f"{name}: {why}" for name, why in missing.items()))
        return self.present(fields, missing)

    def present(self, fields: Mapping[str, Tensor], missing: Mapping[str, str] | None = None) -> Present:
        """The same of pictures (H, W, F) that were read. Raises Unusable for sizes that differ."""
        if len({x.shape[:2] for x in fields.values()}) > 1:
            sizes = ", ".join(f"{name} {x.shape[0]} x {x.shape[1]}" for name, x in fields.items())
            others = "".join(f"; {name}: {why}" for name, why in (missing or {}).items() if why != NOT_GIVEN)
            raise Unusable(f"the pictures of a scene must have one size; got {sizes} (rows x columns){others}")
        size = _size(fields)
        if self.resize:
            fields = {name: resized(x, self.facts.streams[name].kind, *self.resize) for name, x in fields.items()}
        return Present(normalised(fields, self.stats), size, dict(missing or {}))

    @torch.inference_mode()
    def _batch(self, scenes: Sequence[Present]) -> list[PixelPrediction | Unusable]:
        """The results of scenes that the model sees in one size."""
        parts: list[list[np.ndarray]] = [[] for _ in scenes]
        finite = [True] * len(scenes)
        for strip in self._strips(self.together(scenes)):
            for i, scene in enumerate(scenes):
                values = strip.values[i].cpu()
                finite[i] &= bool(values.isfinite().all())
                parts[i].append(self._said(values, scene.size if self.resize else _size(values)))
        return [
            self._prediction(np.concatenate(part), scene) if good else Unusable("the model's output is not finite")
            for part, scene, good in zip(parts, scenes, finite, strict=True)
        ]

    def together(self, scenes: Sequence[Present]) -> dict[str, Field]:
        """Scenes of one size as a batch for the model."""
        height, width = _size(scenes[0].fields)
        batch = {}
        for name in self.model.reads:
            x = torch.zeros(len(scenes), height, width, self.model.streams[name])
            mask = torch.zeros(len(scenes), height, width, dtype=torch.bool)
            for i, scene in enumerate(scenes):
                if name in scene.fields:
                    x[i], mask[i] = scene.fields[name], True
            batch[name] = Field(x.to(self.device), mask.to(self.device))
        return batch

    def _strips(self, fields: dict[str, Field]) -> Iterator[Strip]:
        height, width = next(iter(fields.values())).mask.shape[1:]
        rows, columns = self.facts.size
        large = height > LARGE * rows or width > LARGE * columns
        return strips(lambda part: self.model(part).logits, fields, (rows, columns) if large else (height, width))

    def _said(self, values: Tensor, size: tuple[int, int]) -> np.ndarray:
        """(h, w, C) of the model -> numbers of classes (H, W), or a picture (H, W, C), of a larger size."""
        if self.facts.classes:
            return _likeliest(values, size).numpy().astype(label_type(len(self.facts.classes)))
        return _enlarged(values, size).numpy()

    def _prediction(self, answer: np.ndarray, scene: Present) -> PixelPrediction:
        if self.facts.classes:
            return PixelPrediction(answer, None, tuple(self.facts.classes), None, scene.missing)
        return PixelPrediction(None, self.in_units(torch.from_numpy(answer)), (), self.kind, scene.missing)

    @property
    def kind(self) -> Kind:
        """What the picture shows that a translation makes."""
        kind = self.facts.target.kind
        assert kind != "auto", "a run knows what it translates to"
        return kind

    def in_units(self, values: Tensor) -> np.ndarray:
        """(H, W, C) of the model, from -1 to 1 -> in the units of the picture's kind."""
        middle, half = self.facts.target_scale
        picture = values * half + middle
        if self.kind == "normal":
            return unit(picture).numpy()
        return (picture.clamp_min(0.0) if self.kind == "depth" else picture.clamp(0.0, 1.0)).numpy()


def _pixels(picture: Picture, stream: PictureStream, name: str) -> Tensor:
    """(H, W, F) of a file or an array. Raises Unusable."""
    if isinstance(picture, str | Path):
        with one_file(picture):
            return read_picture(picture, stream)
    if isinstance(picture, Tensor):
        picture = picture.detach().cpu().to_dense().numpy()
    try:
        values = np.asanyarray(picture)
    except (TypeError, ValueError) as error:
        raise Unusable(f"{name}: {type(picture).__name__} is not an array of numbers ({said(error)})") from error
    if np.ma.is_masked(values):
        raise Unusable(f"{name}: has masked values; give {stream.invalid:g} where nothing was measured")
    return as_picture(raw(np.asarray(values), name), stream, name)


def _size(pictures: Tensor | Mapping[str, Tensor]) -> tuple[int, int]:
    """Rows and columns."""
    some = pictures if isinstance(pictures, Tensor) else next(iter(pictures.values()))
    return some.shape[0], some.shape[1]


def _likeliest(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(h, w, C) -> (H, W), class after class: all logits in the larger size would be too much to hold."""
    if _size(logits) == size:
        return logits.argmax(2)
    best, labels = _enlarged(logits[..., :1], size)[..., 0], torch.zeros(size, dtype=torch.long)
    for i in range(1, logits.shape[2]):
        values = _enlarged(logits[..., i : i + 1], size)[..., 0]
        labels[values > best] = i
        best = torch.maximum(best, values)
    return labels


def _enlarged(values: Tensor, size: tuple[int, int]) -> Tensor:
    """(h, w, C) -> (H, W, C), bilinear."""
    if _size(values) == size:
        return values
    x = F.interpolate(values.movedim(2, 0)[None], size=size, mode="bilinear", align_corners=False, antialias=True)
    return x[0].movedim(0, 2)
