"""Long recordings: a prediction per window of a clip, and segments of equal labels.

Features are extracted from the whole recording, then cut: token i of N is at i / N of the stream's seconds, or when the
extractor says. The context that an extractor adds to a token may therefore cross the edge of a window.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from sparsefuse.features import source_of
from sparsefuse.features._part import WHOLE
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.predictor import Clip, Prediction, Predictor, rounded
from sparsefuse.media import FramesRequest, SoundRequest
from sparsefuse.media.seconds import stamps
from sparsefuse.shown import counted


class Moment(NamedTuple):
    """The prediction for one window."""

    start: float
    """seconds"""
    end: float
    prediction: Prediction

    @property
    def probability(self) -> float | None:
        """Of the label; None for a number or several labels."""
        return self.prediction.probabilities.get(self.prediction.label)


class Segment(NamedTuple):
    """Windows one after another with one label."""

    start: float
    end: float
    label: str
    probability: float | None
    """mean over its windows"""


class Timeline(NamedTuple):
    """A recording from start to end."""

    seconds: float
    moments: list[Moment]
    missing: dict[str, str]

    @property
    def segments(self) -> list[Segment]:
        """Windows of equal label joined. Between two windows the border is halfway between their middles."""
        middles = [(moment.start + moment.end) / 2 for moment in self.moments]
        borders = [0.0, *((a + b) / 2 for a, b in itertools.pairwise(middles)), self.seconds]
        segments = []
        for label, group in itertools.groupby(range(len(self.moments)), lambda i: self.moments[i].prediction.label):
            part = list(group)
            shares = [share for i in part if (share := self.moments[i].probability) is not None]
            mean = sum(shares) / len(shares) if shares else None
            segments.append(Segment(borders[part[0]], borders[part[-1] + 1], label, mean))
        return segments

    def to_json(self) -> dict[str, object]:
        """As plain lists and numbers."""
        windows = [{"start": m.start, "end": m.end, **m.prediction.to_json()} for m in self.moments]
        segments = [s._replace(probability=s.probability and rounded(s.probability))._asdict() for s in self.segments]
        return {"seconds": self.seconds, "segments": segments, "windows": windows}


class Recording(NamedTuple):
    """One modality of a whole recording."""

    x: Tensor
    """(N, F) features as extracted"""
    seconds: float
    times: np.ndarray | None = None
    """(N,) seconds of the tokens; None = evenly spaced"""
    patches: int = 1
    """tokens of each frame, which stay together: a window begins with the first one of a frame"""

    def cut(self, start: float, end: float) -> Tensor | None:
        """The tokens between two times; None where there are none."""
        if self.times is not None:
            first, last = np.searchsorted(self.times, (start - 1e-9, end - 1e-9))
            return self.x[first:last] if first < last else None
        frames = self.x.unflatten(0, (-1, self.patches))
        first, last = (round(len(frames) * time / self.seconds) for time in (start, end))
        return frames[first : max(last, first + 1)].flatten(0, 1) if first < len(frames) else None


def timeline(predictor: Predictor, clip: Clip, *, window: float, hop: float) -> Timeline:
    """Predicts every window of `window` seconds, `hop` seconds apart; the last one ends with the recording.

    Raises Unusable if no modality of the clip is made from a media file that can be read, or a window gives an output
    that is not finite.
    """
    check_windows(window, hop)
    if (part := predictor.part(clip)) != WHOLE:
        end = "its end" if part.end is None else f"{part.end:g} s"
        raise Unusable(f"it is a part of a recording, from {part.start:g} s to {end}; whole ones are cut into windows")
    streams, missing = _streams(predictor, clip)
    total = max(stream.seconds for stream in streams.values())
    moments: list[Moment] = []
    gaps: dict[str, list[float]] = {}
    for start, end in spans(total, window, hop):
        parts = {name: part for name, s in streams.items() if (part := s.cut(start, end)) is not None}
        for name in streams.keys() - parts.keys():  # a gap between readings, or the stream has ended
            gaps.setdefault(name, []).append(start)
        if not parts:
            continue
        try:
            moments.append(Moment(start, end, predictor.predict_one(parts)))
        except Unusable as error:
            raise Unusable(f"{start:g} - {end:g} s: {error}") from error
    for name, starts in sorted(gaps.items()):
        missing[name] = f"nothing in {counted(len(starts), 'window')}, the first from {starts[0]:g} s on"
    return Timeline(total, moments, missing)


def check_windows(window: float, hop: float) -> None:
    """Raises ValueError unless the windows cover the whole recording."""
    if not 0 < hop <= window:
        raise ValueError(f"expected 0 < --hop <= --window, in seconds; got --window {window:g} --hop {hop:g}")


def spans(total: float, window: float, hop: float) -> Iterator[tuple[float, float]]:
    """Start and end of every window, in seconds; a shorter recording is one window."""
    start = 0.0
    for i in itertools.count():
        start = i * hop
        if start + window >= total - 1e-6:
            break
        yield start, start + window
    yield max(total - window, 0.0), total


def _streams(predictor: Predictor, clip: Clip) -> tuple[dict[str, Recording], dict[str, str]]:
    """Every modality of the recording that can be read, and why the others cannot."""
    streams, missing = {}, {}
    for name in predictor.model.modalities:
        try:
            file = predictor.media(name, clip)
            if file is None:
                predictor.read(name, clip)  # raises the reason if there is no input
                raise Unusable("the duration of features is unknown; windows need the media file")
            x = predictor.read(name, clip)
            times = predictor.times(name, file)
            if times is not None:
                step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
                streams[name] = Recording(x, float(times[-1]) + step, times)
                continue
            streams[name] = _of_media(predictor, name, file, x)
        except Unusable as error:
            missing[name] = str(error)
    if not streams:
        raise Unusable("; ".join(f"{name}: {why}" for name, why in missing.items()))
    return streams, missing


def _of_media(predictor: Predictor, name: str, file: Path, x: Tensor) -> Recording:
    """The recording of features of a film or of sound."""
    request = predictor.request(name)
    if isinstance(request, SoundRequest):
        return Recording(x, stamps(file, "audio", request.audio).end)
    source = source_of(predictor.extract[name]["extractor"])
    times, end = stamps(file, "audio" if source == "audio" else "video")
    patches = predictor.patches(name)
    frames = len(x) // patches
    if isinstance(request, FramesRequest) and request.rate is None and 0 <= len(times) - frames <= 1:
        return Recording(x, end, times[-frames:].repeat(patches))  # of flow none is of the first frame
    return Recording(x, end, patches=patches)
