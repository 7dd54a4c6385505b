"""Media files come in, plain numpy arrays come out. The optional decoder (PyAV) is imported here and nowhere else."""

from sparsefuse.media.read import read
from sparsefuse.media.request import File, FileRequest, Found, Frames, FramesRequest, Request, SoundRequest
from sparsefuse.media.sound import read_sound
from sparsefuse.media.video import read_frames
from sparsefuse.media.write import write_clip

__all__ = [
    "File",
    "FileRequest",
    "Found",
    "Frames",
    "FramesRequest",
    "Request",
    "SoundRequest",
    "read",
    "read_frames",
    "read_sound",
    "write_clip",
]
