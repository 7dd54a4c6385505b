"""A sound or video file comes in, its sound comes out as one float32 wave."""

from pathlib import Path

import numpy as np

from sparsefuse.media.open import decoded
from sparsefuse.skipped import Unusable


def read_sound(path: str | Path, *, rate: int = 16000) -> np.ndarray:
    """Reads the first audio stream: (S,) float32 in [-1, 1], `rate` samples a second, the mean of the channels.

    Raises Unusable when the file has no sound or cannot be decoded whole.
    """
    if rate < 1:
        raise ValueError(f"rate is {rate}, expected samples per second of at least 1")
    frames = decoded(path, "audio")
    first = next(frames)
    from av.audio.resampler import AudioResampler

    # The channels are joined below: FFmpeg's own downmix adds them at 0.7 each, which leaves [-1, 1].
    resampler = AudioResampler(format="fltp", rate=rate)
    try:
        pieces = resampler.resample(first)
        for frame in frames:
            pieces += resampler.resample(frame)
        pieces += resampler.resample(None)  # what the filter still holds
    except ValueError as error:
        if isinstance(error, Unusable):
            raise
        raise Unusable(f"{path}: its sound changes rate or channels midway ({error}); convert it first") from error
    channels = np.concatenate([piece.to_ndarray() for piece in pieces], axis=1)  # (channels, S)
    if channels.shape[1] == 0:
        raise Unusable(f"{path}: its sound has zero length")
    bad = channels.size - int(np.isfinite(channels).sum())
    if bad:
        raise Unusable(f"{path}: {bad} of {channels.size} sound samples are NaN or infinite, expected finite numbers")
    return np.clip(channels.mean(axis=0, dtype=np.float32), -1, 1)  # lossy codecs overshoot a little
