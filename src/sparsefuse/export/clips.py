"""The clips that an exported model is checked on: those of the run, of a manifest, or made ones."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.config import Config
from sparsefuse.data.arrays import read_array
from sparsefuse.data.manifest import read_manifest
from sparsefuse.export.program import Input
from sparsefuse.features import PLACE, build
from sparsefuse.files.rows import read_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.evaluate import open_run
from sparsefuse.inference.predictor import Clip, Predictor
from sparsefuse.media import read_sound
from sparsefuse.runs.folder import ModelFacts, RunFolder

log = logging.getLogger(__name__)

MADE = 16
"""Clips that are made where there are none."""


class Given(NamedTuple):
    """One clip, as the exported model takes it."""

    id: str
    streams: dict[str, Tensor]
    """modality -> features (N, F) as extracted, or samples (S,)"""
    label: Tensor | None

    def features(self, predictor: Predictor) -> dict[str, Tensor]:
        """Features of every modality; those of sound are made as training made them."""
        found = dict(self.streams)
        for name, x in self.streams.items():
            if x.ndim == 1:
                spec = {k: v for k, v in predictor.extract[name].items() if k not in PLACE}
                found[name] = torch.from_numpy(build("spectrogram", spec).features(x.numpy()))
        return found


class Clips(NamedTuple):
    """Clips, and where they are from."""

    source: str
    """for the card: what they are, in words"""
    given: list[Given]
    real: bool

    @property
    def labels(self) -> Tensor | None:
        """The labels of all; None unless all have one."""
        found = [clip.label for clip in self.given if clip.label is not None]
        return torch.stack(found) if found and len(found) == len(self.given) else None


def of_run(run: Path, split: str, predictor: Predictor, inputs: Sequence[Input], *, trust_code: bool = False) -> Clips:
    """A split of the run's own data; made clips if it is not here, or if the model takes sound: a run has features."""
    if any(given.kind == "sound" for given in inputs):
        log.warning("the run's data are features, the exported model takes sound: checked on made clips; for real ones")
        log.warning("give --manifest with media files")
        return made(run, predictor, inputs)
    try:
        data = open_run(run, split=split, trust_code=trust_code).data
    except FileNotFoundError as error:
        log.warning("the run's data is not here (%s): checked on made clips; for real ones give --manifest", error)
        return made(run, predictor, inputs)
    clips = []
    for row in data.rows:
        streams = {name: torch.from_numpy(read_array(ref, data.root)) for name, ref in row.files.items()}
        clips.append(Given(row.id, _read(streams, inputs), data.labels.encode(row.label)))
    return Clips(f"the run's {split} split", clips, real=True)


def of_manifest(path: Path, run: Path, predictor: Predictor, inputs: Sequence[Input]) -> Clips:
    """All clips of a manifest of features or media files. Those that cannot be read are left out, with a warning.

    Raises ValueError if none is left.
    """
    columns = [name for name in read_table(path).columns if name in predictor.columns]
    label = RunFolder(run).read(Config).data.label
    manifest = read_manifest(path, label=label, modalities=columns)
    clips, reasons = [], []
    for row in manifest.rows:
        try:
            clip: Clip = {name: manifest.root / file for name, file in row.files.items()}
            clips.append(Given(row.id, _streams(clip, predictor, inputs), predictor.labels.encode(row.label)))
        except Unusable as error:
            reasons.append(f"{row.id}: {error}")
    if not clips:
        raise ValueError(f"{path}: no clip can be read; the first is {reasons[0]}")
    if reasons:
        log.warning("%d clips of %s left out; the first is %s", len(reasons), path, reasons[0])
    return Clips(f"all of {path.name}", clips, real=True)


def made(run: Path, predictor: Predictor, inputs: Sequence[Input]) -> Clips:
    """Noise in place of clips, spread as the training clips are and about as long; every fourth lacks a modality."""
    generator = torch.Generator().manual_seed(0)
    typical = RunFolder(run).read(ModelFacts).typical
    clips = []
    for i in range(MADE):
        streams = {}
        for given in inputs:
            if given.kind == "sound":
                assert given.rate is not None
                size = int(torch.randint(given.rate // 2, 3 * given.rate, (), generator=generator))
                streams[given.name] = 0.1 * torch.randn(size, generator=generator)
                continue
            longest = typical[given.name]
            size = int(torch.randint(max(longest // 2, 1), longest + 1, (), generator=generator))
            x = torch.randn(size, given.width, generator=generator)
            stats = predictor.stats
            streams[given.name] = x * stats.std[given.name] + stats.mean[given.name] if stats else x
        if i % 4 == 3 and len(inputs) > 1:
            del streams[inputs[i // 4 % len(inputs)].name]
        clips.append(Given(f"made{i}", streams, None))
    return Clips(f"{MADE} clips of noise", clips, real=False)


def _streams(clip: Clip, predictor: Predictor, inputs: Sequence[Input]) -> dict[str, Tensor]:
    """What the exported model reads of a clip of files. Raises Unusable if that is nothing."""
    streams, missing = {}, {}
    for given in inputs:
        try:
            file = predictor.media(given.name, clip)
            if given.kind != "sound":
                streams[given.name] = predictor.read(given.name, clip)
            elif file is None:
                raise Unusable("not a media file, but the exported model takes sound")
            else:
                streams[given.name] = torch.from_numpy(read_sound(file, rate=given.rate or 0))
        except Unusable as error:
            missing[given.name] = str(error)
    if not streams:
        raise Unusable("; ".join(f"{name}: {why}" for name, why in missing.items()))
    return streams


def _read(streams: dict[str, Tensor], inputs: Sequence[Input]) -> dict[str, Tensor]:
    """Those that the model reads."""
    return {given.name: streams[given.name] for given in inputs if given.name in streams}
