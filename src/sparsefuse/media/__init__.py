"""Media files come in, plain numpy arrays come out. The optional decoder (PyAV) is imported here and nowhere else."""

from sparsefuse.media.open import import_av
from sparsefuse.media.read import read, read_frames, read_size, read_sound
from sparsefuse.media.request import File, FileRequest, Found, Frames, FramesRequest, Limits, Request, SoundRequest
from sparsefuse.media.write import write_clip

__all__ = [
    "File",
    "FileRequest",
    "Found",
    "Frames",
    "FramesRequest",
    "Limits",
    "Request",
    "SoundRequest",
    "import_av",
    "read",
    "read_frames",
    "read_size",
    "read_sound",
    "write_clip",
]
