"""Media files come in, plain numpy arrays come out. The optional decoder (PyAV) is imported here and nowhere else."""

from sparsefuse.media.sound import read_sound
from sparsefuse.media.video import Frames, read_frames
from sparsefuse.media.write import write_clip

__all__ = ["Frames", "read_frames", "read_sound", "write_clip"]
