"""When the frames of a stream of a media file come, as its packets say; nothing is decoded."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from sparsefuse.files.skipped import Unusable
from sparsefuse.media.open import Track, clip_begin, find_stream, opened, packets
from sparsefuse.media.request import Choice


class Stamps(NamedTuple):
    """Seconds since the clip begins: where the first of its streams does, as in reading it."""

    times: np.ndarray
    """(N,) of each packet, rising; of pictures one is a frame"""
    end: float
    """of the last one"""


def stamps(path: str | Path, kind: Literal["video", "audio"], which: Choice = "default") -> Stamps:
    """Of the default stream of that kind, or the one of the sound that `which` says. Reads all of the file: its header
    has the length of a stream, if at all, without how late it begins.

    Raises Unusable if the file cannot be opened, has no such stream, or does not say when its packets come.
    """
    path = Path(path)
    with opened(path) as container:
        stream = find_stream(container, kind, which)
        if stream is None:
            raise Unusable(f"{path}: has no {kind}")
        begin = clip_begin(container)
        found = [
            (float(packet.pts * packet.time_base), float((packet.duration or 0) * packet.time_base))
            for _, packet in packets(container, [Track(stream, path)])
            if packet.pts is not None and packet.time_base is not None and not packet.is_discard
        ]
    if not found:
        raise Unusable(f"{path}: does not say when its {kind} is, so it cannot be cut by seconds; write it as mp4")
    times = np.sort([time for time, _ in found])
    first = times[0] if begin is None else float(begin)
    return Stamps(times - first, max(time + length for time, length in found) - first)
