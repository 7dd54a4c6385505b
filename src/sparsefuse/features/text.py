"""Tokens of a text or transcript: one per word, hashed or from a table of vectors, or one per sub-word of a model."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from sparsefuse.features import encoder
from sparsefuse.features._hashing import hashed
from sparsefuse.features._transcript import read_text
from sparsefuse.features._vectors import Vectors, vectors
from sparsefuse.files.skipped import Unusable
from sparsefuse.media import File, FileRequest

SOURCE = "text"
FILES = ("table", "vocabulary", "model")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")  # letters and digits, with apostrophes inside: don't
_MOST = 4096


@dataclass(frozen=True)
class Extractor:
    """Words as tokens, (N, D) float32; `table` or `model` gives their vectors, else their letters do."""

    hashed: int = 256
    """D without a table or model: vectors are made of the hashes of a word and of each three letters of it"""
    table: str | None = None
    """a text file of lines `word v1 ... vD`, as GloVe's, or a .npy of (words, D)"""
    vocabulary: str | None = None
    """the words of a .npy table, one a line"""
    unknown: Literal["zero", "drop"] = "zero"
    """what a word that is not in the table gives: zeros, or no token"""
    max_unknown: float = 0.5
    """share of such words above which the text is unusable: it may be in another language"""
    model: str | None = None
    """a text encoder of transformers, by folder or hub name, with its tokenizer"""
    layer: int = -1
    """of the model's hidden states; -1 = its output"""

    def __post_init__(self) -> None:
        if self.table is not None and self.model is not None:
            raise ValueError("expected either `table`, a file of word vectors, or `model`, an encoder; got both")
        if not 1 <= self.hashed <= _MOST:
            raise ValueError(f"hashed is {self.hashed}, expected a number of features from 1 to {_MOST}")
        if not 0 <= self.max_unknown <= 1:
            raise ValueError(f"max_unknown is {self.max_unknown}, expected a share from 0 to 1")

    def fingerprint(self) -> str:
        """The table's files, their size and time, the model's identity, or the version of the hashes."""
        if self.model is not None:
            return self._encoder.fingerprint()
        if self.table is None:
            return "1"  # another number when `hashed` gives other vectors
        assert self._vectors.dim  # a table that cannot be read ends the run before any work
        files = [Path(file).stat() for file in (self.table, self.vocabulary) if file]
        return json.dumps([[status.st_size, status.st_mtime_ns] for status in files])

    def request(self) -> FileRequest:
        """The file; of a part of it the words whose middle lies in it."""
        return FileRequest(parts=True)

    def features(self, file: File) -> np.ndarray:
        """(N, D) float32."""
        if self.model is not None:
            return self._encoder.features(file)
        words = _WORD.findall(read_text(file.path, file.start, file.end).replace("\u2019", "'"))
        if self.table is None:
            if not words:
                raise Unusable(f"{file.path}: has no words, only signs")
            return np.stack([hashed(word, self.hashed) for word in words])
        rows = [self._vectors.get(word) for word in words]
        lost = [word for word, row in zip(words, rows, strict=True) if row is None]
        if not words or len(lost) > self.max_unknown * len(words) or len(lost) == len(words):
            some = ", ".join(dict.fromkeys(lost[:20]))
            raise Unusable(f"{file.path}: {len(lost)} of {len(words)} words are not in {self.table}: {some[:100]}")
        none = np.zeros(self._vectors.dim, np.float32)
        return np.stack([none if row is None else row for row in rows if row is not None or self.unknown == "zero"])

    @property
    def _vectors(self) -> Vectors:
        assert self.table is not None
        return vectors(Path(self.table), Path(self.vocabulary) if self.vocabulary else None)

    @cached_property
    def _encoder(self) -> encoder.Extractor:
        assert self.model is not None
        return encoder.Extractor(self.model, output="token", reads="text", layer=self.layer)
