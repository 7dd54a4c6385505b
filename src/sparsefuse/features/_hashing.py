"""Vectors of words without a table: from hashes of a word and of each three letters of it (Bojanowski et al. 2017)."""

import hashlib
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=50_000)
def hashed(word: str, dim: int) -> np.ndarray:
    """(dim,) float32, the same everywhere, whatever the word's case; words that share letters have similar vectors."""
    bounded = f"<{word.lower()}>"
    pieces = [bounded, *(bounded[i : i + 3] for i in range(len(bounded) - 2))]
    return np.sum([_signs(piece, dim) for piece in pieces], axis=0) / np.float32(len(pieces) ** 0.5)


def _signs(piece: str, dim: int) -> np.ndarray:
    """(dim,) float32 of 1 and -1."""
    bits = np.frombuffer(hashlib.shake_128(piece.encode()).digest(-(-dim // 8)), np.uint8)
    return np.unpackbits(bits)[:dim].astype(np.float32) * 2 - 1
