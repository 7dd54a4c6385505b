"""One file and what several extractors ask of it come in; what each gets, or why it gets nothing, comes out."""

from collections.abc import Sequence
from pathlib import Path

from sparsefuse.media.request import File, FileRequest, Found, FramesRequest, Request
from sparsefuse.media.sound import read_sound
from sparsefuse.media.video import read_frames
from sparsefuse.skipped import Unusable


def read(
    path: str | Path, requests: Sequence[Request], *, start: float = 0.0, end: float | None = None
) -> list[Found | Unusable]:
    """What each request gets, in their order; an Unusable in the place of one that cannot be met."""
    found: list[Found | Unusable] = []
    for request in requests:
        try:
            found.append(_read(Path(path), request, start, end))
        except Unusable as error:
            found.append(error)
    return found


def _read(path: Path, request: Request, start: float, end: float | None) -> Found:
    if isinstance(request, FileRequest):
        return File(path, start, end)
    if start or end is not None:
        raise NotImplementedError("parts of films")
    if isinstance(request, FramesRequest):
        return read_frames(path, **request._asdict())
    return read_sound(path, rate=request.rate)
