"""Media files come in, plain numpy arrays come out. The optional decoder (PyAV) is imported here and nowhere else."""

from sparsefuse.media.open import import_av
from sparsefuse.media.read import read, read_frames, read_size, read_sound
from sparsefuse.media.request import (
    Channels,
    Choice,
    Decoded,
    File,
    FileRequest,
    Frames,
    FramesRequest,
    MediaLimits,
    Request,
    SoundRequest,
)
from sparsefuse.media.write import write_clip

__all__ = [
    "Channels",
    "Choice",
    "Decoded",
    "File",
    "FileRequest",
    "Frames",
    "FramesRequest",
    "MediaLimits",
    "Request",
    "SoundRequest",
    "import_av",
    "read",
    "read_frames",
    "read_size",
    "read_sound",
    "write_clip",
]
