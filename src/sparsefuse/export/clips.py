"""The clips that an exported model is checked on: those of the run, of a manifest, or noise."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsefuse.config import Config
from sparsefuse.data.arrays import read_array
from sparsefuse.data.contents import hash_of
from sparsefuse.data.manifest import read_manifest
from sparsefuse.export.program import Input
from sparsefuse.features import PLACE, Extractor, build
from sparsefuse.files.rows import numbered, read_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.evaluate import open_run, seen_clips
from sparsefuse.inference.predictor import Clip, Predictor
from sparsefuse.media import read
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts
from sparsefuse.shown import counted

log = logging.getLogger(__name__)

NUM_NOISE_CLIPS = 16
"""Clips of noise, where there are no others."""


class ParityClip(NamedTuple):
    """One clip, as the input of the exported model."""

    id: str
    streams: dict[str, Tensor]
    """modality -> features (N, F) as extracted, or samples (S,)"""
    label: Tensor | None

    def features(self, predictor: Predictor) -> dict[str, Tensor]:
        """Features of every modality; those of sound are computed as for training."""
        features = dict(self.streams)
        for name, x in self.streams.items():
            if x.ndim == 1:
                features[name] = torch.from_numpy(_spectrogram(predictor, name).features(x.numpy()))
        return features


class ParityClips(NamedTuple):
    """Clips, and where they come from."""

    source: str
    """a description for the card"""
    clips: list[ParityClip]
    real: bool

    @property
    def labels(self) -> Tensor | None:
        """The labels of all; None unless all have one."""
        labels = [clip.label for clip in self.clips if clip.label is not None]
        return torch.stack(labels) if labels and len(labels) == len(self.clips) else None


def of_run(
    run: Path, split: str, predictor: Predictor, inputs: Sequence[Input], *, trust_code: bool = False
) -> ParityClips:
    """A split of the run's own data; noise if the data is missing, or if the model takes sound: a run has features."""
    if any(spec.kind == "sound" for spec in inputs):
        log.warning(
            "the run has features, but the exported model takes sound, so it is checked on noise; for real clips"
        )
        log.warning("give --manifest with media files")
        return noise_clips(run, predictor, inputs)
    try:
        data = open_run(run, split=split, trust_code=trust_code).data
    except FileNotFoundError as error:
        log.warning(
            "the run's data was not found (%s), so it is checked on noise; for real clips give --manifest", error
        )
        return noise_clips(run, predictor, inputs)
    clips = []
    for row in data.rows:
        streams = {name: torch.from_numpy(read_array(ref, data.root)) for name, ref in row.files.items()}
        clips.append(ParityClip(row.id, _read(streams, inputs), data.labels.encode(row.label)))
    return ParityClips(f"the run's {split} split", clips, real=True)


def of_manifest(path: Path, run: Path, predictor: Predictor, inputs: Sequence[Input]) -> dict[str, ParityClips]:
    """All clips of a manifest of features or media files; those that the model was trained on apart, to be scored
    apart. Those that cannot be read are left out, with a warning.

    Raises ValueError if none is left.
    """
    table = numbered(read_table(path))
    cells = {row["id"]: row for row in table.rows}
    columns = [name for name in table.columns if name in predictor.columns]
    data = RunFolder(run).read(Config).data
    manifest = read_manifest(path, label=data.label, separator=data.separator, modalities=columns)
    clips, reasons = [], []
    for row in manifest.rows:
        try:
            clip = predictor.clip(cells[row.id], manifest.root)
            clips.append(ParityClip(row.id, _streams(clip, predictor, inputs), predictor.labels.encode(row.label)))
        except Unusable as error:
            reasons.append(f"{row.id}: {error}")
    if not clips:
        raise ValueError(f"{path}: no clip can be read; the first is {reasons[0]}")
    if reasons:
        log.warning("%s of %s left out; the first is %s", counted(len(reasons), "clip"), path, reasons[0])
    hashes = [[hash_of(x.numpy()) for x in clip.features(predictor).values()] for clip in clips]
    parts: dict[bool, list[ParityClip]] = {False: [], True: []}
    for clip, seen in zip(clips, seen_clips(RunFolder(run), hashes).tolist(), strict=True):
        parts[seen].append(clip)
    names = {
        False: ("manifest", f"{'new clips' if parts[True] else 'all'} of {path.name}"),
        True: ("manifest (seen in training)", "clips of training"),
    }
    return {name: ParityClips(what, parts[seen], real=True) for seen, (name, what) in names.items() if parts[seen]}


def noise_clips(run: Path, predictor: Predictor, inputs: Sequence[Input]) -> ParityClips:
    """Noise with the mean, deviation and about the lengths of training clips; every fourth lacks a modality."""
    generator = torch.Generator().manual_seed(0)
    typical = RunFolder(run).read(ModelFacts).typical
    clips = []
    for i in range(NUM_NOISE_CLIPS):
        streams = {}
        for spec in inputs:
            if spec.kind == "sound":
                assert spec.rate is not None
                size = int(torch.randint(spec.rate // 2, 3 * spec.rate, (), generator=generator))
                streams[spec.name] = 0.1 * torch.randn(size, generator=generator)
                continue
            longest = typical[spec.name]
            size = int(torch.randint(max(longest // 2, 1), longest + 1, (), generator=generator))
            x = torch.randn(size, spec.width, generator=generator)
            stats = predictor.stats
            streams[spec.name] = x * stats.std[spec.name] + stats.mean[spec.name] if stats else x
        if i % 4 == 3 and len(inputs) > 1:
            del streams[inputs[i // 4 % len(inputs)].name]
        clips.append(ParityClip(f"noise{i}", streams, None))
    return ParityClips(f"{NUM_NOISE_CLIPS} clips of noise", clips, real=False)


def _streams(clip: Clip, predictor: Predictor, inputs: Sequence[Input]) -> dict[str, Tensor]:
    """The inputs of the exported model from a clip of files. Raises Unusable if there are none."""
    streams, missing = {}, {}
    for spec in inputs:
        try:
            file = predictor.media(spec.name, clip)
            if spec.kind != "sound":
                streams[spec.name] = predictor.read(spec.name, clip)
            elif file is None:
                raise Unusable("not a media file, but the exported model takes sound")
            else:
                start, end = predictor.part(clip, spec.name)
                (sound,) = read(file, [_spectrogram(predictor, spec.name).request()], start=start, end=end)
                if isinstance(sound, Unusable):
                    raise sound
                assert isinstance(sound, np.ndarray), sound
                streams[spec.name] = torch.from_numpy(sound)
        except Unusable as error:
            missing[spec.name] = str(error)
    if not streams:
        raise Unusable("; ".join(f"{name}: {why}" for name, why in missing.items()))
    return streams


def _spectrogram(predictor: Predictor, name: str) -> Extractor:
    """The extractor of a modality of sound."""
    return build("spectrogram", {k: v for k, v in predictor.extract[name].items() if k not in PLACE})


def _read(streams: dict[str, Tensor], inputs: Sequence[Input]) -> dict[str, Tensor]:
    """The streams that are inputs of the model."""
    return {spec.name: streams[spec.name] for spec in inputs if spec.name in streams}
