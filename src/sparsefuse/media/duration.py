"""The length of an untrusted media file, by the times of its packets rather than its header; nothing is decoded."""

from pathlib import Path

from sparsefuse.files.skipped import Unusable
from sparsefuse.media.open import opened


def duration(path: str | Path) -> float:
    """The length in seconds of a file's picture or sound, whichever is longer, by the times of its packets.

    The header is ignored: a browser's recording lacks it, and an upload may hold anything. Raises Unusable for a
    file that is missing, empty, no media file, or without picture and sound.
    """
    path = Path(path)
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    with opened(path) as container:
        streams = [stream for stream in container.streams if stream.type in ("video", "audio")]
        if not streams:
            raise Unusable(f"{path}: has neither picture nor sound")
        for packet in container.demux(streams):
            if packet.pts is not None and packet.time_base is not None:
                start = float(packet.pts * packet.time_base)
                end = start + float((packet.duration or 0) * packet.time_base)
                index = packet.stream.index
                first[index], last[index] = min(first.get(index, start), start), max(last.get(index, end), end)
    return max((last[index] - first[index] for index in first), default=0.0)
