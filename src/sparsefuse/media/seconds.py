"""How long a stream of a media file is, as its header says; nothing is decoded."""

from pathlib import Path
from typing import Literal

from sparsefuse.files.skipped import Unusable
from sparsefuse.media.open import find_stream, import_av


def seconds(path: str | Path, kind: Literal["video", "audio"]) -> float:
    """The length of the default stream of that kind, or of the whole file if the stream's is not stated.

    Raises Unusable if the file cannot be opened, has no such stream, or does not say how long it is.
    """
    av = import_av()
    try:
        with av.open(f"file:{path}", metadata_errors="ignore") as container:
            stream = find_stream(container, kind)
            if stream is None:
                raise Unusable(f"{path}: has no {kind}")
            if stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
            if container.duration:
                return container.duration / 1e6
    except av.error.FFmpegError as error:
        raise Unusable(f"{path}: cannot be opened ({error.strerror or type(error).__name__})") from error
    raise Unusable(f"{path}: does not say how long it is, so it cannot be cut by seconds; write it as mp4, mkv or wav")
