"""A reference to a file, as a manifest's cell holds it: `file` or `file#key` in, its parts and its kind out."""

import os

FEATURES = frozenset({".npy", ".npz", ".mat", ".csv", ".h5", ".hdf5", ".h5py", ".safetensors"})
TABLES = frozenset({".csv"})
"""Feature files that may also hold a sensor's readings or a transcript's words, depending on the extractor."""
VIDEO = frozenset({".mp4", ".mkv", ".webm", ".avi", ".mov", ".mpg", ".mpeg", ".m4v", ".flv", ".wmv", ".ts", ".3gp"})
AUDIO = frozenset({".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma", ".aif", ".aiff"})
IMAGES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"})
TEXTS = frozenset({".txt", ".srt", ".vtt"})
MEDIA = VIDEO | AUDIO | IMAGES | TEXTS
"""Files that features are extracted from."""
SCENES = frozenset({".tif", ".tiff", ".pgm", ".ppm", ".ply", ".json"})
"""Files of scenes, of pictures or points, besides those above."""
REFUSED = frozenset({".pkl", ".pickle", ".p", ".pt", ".pth", ".joblib"})
"""Pickles, which can run code when opened."""
FILES = FEATURES | MEDIA | REFUSED
_KNOWN = FILES | SCENES


def split_ref(ref: str) -> tuple[str, str]:
    """`file#key` -> (file, key); without a key it is empty.

    Files and folders may have a # in their names: the key begins after the first suffix of a known kind.
    """
    end = ref.find("#")
    while end >= 0:
        if _suffix(ref[:end]) in _KNOWN:
            return ref[:end], ref[end + 1 :]
        end = ref.find("#", end + 1)
    if _suffix(ref) in _KNOWN:
        return ref, ""
    name, _, key = ref.partition("#")
    return name, key


def suffix(ref: str) -> str:
    """The suffix of the referred file, in lower case; empty when there is none."""
    return _suffix(split_ref(ref)[0])


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
