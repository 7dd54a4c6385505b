"""Frames and spectrograms of a clip, to draw heat maps on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.explain.explanation import Explanation
from sparsefuse.features import PLACE, extractor, resolve
from sparsefuse.features._part import Part
from sparsefuse.features.spectrogram import CHOICES
from sparsefuse.files.references import MEDIA, VIDEO, suffix
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.predictor import Clip, Predictor
from sparsefuse.media import Frames, FramesRequest, read, read_size
from sparsefuse.media.seconds import stamps

HEIGHT, RATE = 96, 10.0
"""Pixels and frames a second that are read: enough for a strip, and a long clip fits into memory."""
_OF_SOUND = ("rate", "bins", "window", "hop", *CHOICES)


class Footage(NamedTuple):
    """Frames and spectrograms; empty for a clip of feature files alone."""

    frames: np.ndarray
    """(T, H, W, 3) uint8, evenly over the clip; T = 0 without a picture"""
    sounds: dict[str, np.ndarray]
    """modality made by `spectrogram` -> (N, bins) log-mel, without the context that tokens concatenate"""
    seconds: float
    """the clip's length, that of its longest stream; 0 if it is not known"""
    picture: float
    """the length of the frames in seconds"""
    lengths: dict[str, float]
    """modality -> its length in seconds, where that is known"""
    grids: dict[str, tuple[int, int]]
    """modality made of patches of frames -> their (rows, columns)"""
    signals: dict[str, np.ndarray]
    """modality made of a sensor's readings by `series` -> (N, C) readings, of finite numbers"""


def footage(predictor: Predictor, clip: Clip, modalities: list[str]) -> Footage:
    """Reads again the media files that the modalities were made from."""
    files = {name: file for name in modalities if (file := _file(predictor, name, clip)) is not None}
    options = {name: _options(predictor.extract.get(name, {})) for name in modalities}
    frames, picture = _frames(list(dict.fromkeys((file, predictor.part(clip, name)) for name, file in files.items())))
    lengths = {name: length for name in modalities if (length := _length(predictor, name, clip))}
    sounds = {}
    for name, file in files.items():
        if options[name].get("extractor") == "spectrogram":
            chosen = {key: options[name][key] for key in _OF_SOUND if key in options[name]}
            start, end = predictor.part(clip, name)
            sounds[name] = extractor("spectrogram")(file, start=start, end=end, **chosen)
            lengths[name] = len(sounds[name]) * chosen["hop"]
    pictures = [name for name in modalities if options[name].get("extractor") == "frames"]
    grids = {name: grid for name in pictures if (grid := predictor.grid(name)) and name not in predictor.fit.resample}
    series = [name for name in modalities if options[name].get("extractor") == "series"]
    signals = {name: predictor.read(name, clip).nan_to_num(0).cpu().numpy() for name in series}
    return Footage(frames, sounds, max(picture, *lengths.values(), 0.0), picture, lengths, grids, signals)


def placed(explanation: Explanation, seen: Footage) -> Explanation:
    """With `covered` as shares of the whole clip, where a stream ends before the longest one does."""
    shares = {name: length / seen.seconds for name, length in seen.lengths.items()}
    covered = {name: share * shares.get(name, 1.0) for name, share in explanation.covered.items()}
    return explanation._replace(covered=covered)


def _length(predictor: Predictor, name: str, clip: Clip) -> float:
    """Seconds of the stream that a modality is made of, or of the part of it that the clip names; 0 = not known."""
    file, (start, end) = predictor.media(name, clip), predictor.part(clip, name)
    if file is None:
        return 0.0
    try:
        times = predictor.times(name, file)
        if times is not None:
            whole = float(times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 0))
        elif isinstance(predictor.request(name), FramesRequest) and suffix(str(file)) in VIDEO:
            whole = stamps(file, "video").end
        else:
            return 0.0
    except Unusable:
        return 0.0
    return max((whole if end is None else min(end, whole)) - start, 0.0)


def _options(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the defaults of extractors whose options are read here, which a spec may leave out."""
    given = {name: value for name, value in spec.items() if name not in PLACE}
    return {**spec, **resolve(spec["extractor"], given)} if spec.get("extractor") == "spectrogram" else spec


def _file(predictor: Predictor, name: str, clip: Clip) -> Path | None:
    file = predictor.media(name, clip)
    return file if file is not None and suffix(str(file)) in MEDIA else None


def _frames(files: list[tuple[Path, Part]]) -> tuple[np.ndarray, float]:
    """Frames of the first file that has a picture, and its length in seconds; of a part of it, of that."""
    for file, (start, end) in files:
        try:
            height, width = read_size(file)
        except Unusable:
            continue  # sound alone
        request = FramesRequest(RATE, (HEIGHT, max(1, round(HEIGHT * width / height))))
        (frames,) = read(file, [request], start=start, end=end)
        if isinstance(frames, Frames):
            return frames.pixels, len(frames.pixels) / RATE
    return np.empty((0, HEIGHT, HEIGHT, 3), dtype=np.uint8), 0.0
