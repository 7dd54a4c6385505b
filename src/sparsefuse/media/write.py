"""Writes pixels and sound as an mp4 file."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sparsefuse.files.whole import replacing
from sparsefuse.media.open import import_av


def write_clip(
    path: str | Path, pixels: np.ndarray, *, fps: float, sound: np.ndarray | None = None, sound_rate: int = 16000
) -> None:
    """Writes (T, H, W, 3) uint8 pixels, and (S,) float32 sound in [-1, 1] if given, as an mp4, whole.

    The same input gives the same bytes on the same FFmpeg. H and W must be even: the pixel format shares colour
    between 2 x 2 pixels.
    """
    av = import_av()
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"pixels must be uint8 (T, H, W, 3); got {pixels.dtype} {pixels.shape}")
    if pixels.shape[1] % 2 or pixels.shape[2] % 2:
        raise ValueError(f"height and width must be even; got {pixels.shape[1]} x {pixels.shape[2]}")
    rate = Fraction(fps).limit_denominator(1001)  # 30000/1001 and the like stay exact
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        # Both streams are declared before the first packet, because that packet writes the header.
        picture = _picture_stream(av, container, pixels, rate)
        audio = None
        if sound is not None:
            audio = container.add_stream("aac", rate=sound_rate, layout="mono")
        for index, image in enumerate(pixels):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if audio is not None and sound is not None:
            _write_sound(av, container, audio, sound, sound_rate)


def _picture_stream(av: Any, container: Any, pixels: np.ndarray, rate: Fraction) -> Any:
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    stream = container.add_stream(codec, rate=rate)
    stream.height, stream.width, stream.pix_fmt = pixels.shape[1], pixels.shape[2], "yuv420p"
    stream.codec_context.thread_count = 1  # the number of threads changes the bytes
    # x264's macroblock tree gives other bytes every time.
    exact = {"crf": "16", "x264-params": "mbtree=0"}
    stream.options = exact if codec == "libx264" else {"qscale": "2"}
    return stream


def _write_sound(av: Any, container: Any, stream: Any, sound: np.ndarray, rate: int) -> None:
    if sound.ndim != 1 or sound.size == 0:
        raise ValueError(f"sound must be float32 (S,) with S > 0; got {sound.dtype} {sound.shape}")
    frame = av.AudioFrame.from_ndarray(sound.astype(np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
