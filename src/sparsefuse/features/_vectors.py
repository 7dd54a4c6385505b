"""Looks up word vectors in a table; of a large table only the requested vectors are read."""

from functools import lru_cache
from pathlib import Path

import numpy as np


def vectors(table: Path, vocabulary: Path | None = None) -> "Vectors":
    """The table, cached until a file changes.

    `table`: lines `word v1 ... vD` (GloVe; word2vec's text form, whose first line has two numbers), or a .npy of
    (words, D) with its words in the text file `vocabulary`, one a line. Raises FileNotFoundError or ValueError.
    """
    files = [table] if vocabulary is None else [table, vocabulary]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"word vectors: there is no file {file}")
    return _vectors(table, vocabulary, tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files))


class Vectors:
    """Words and their vectors, (D,) float32 each; of a repeated word the first counts."""

    def __init__(self, table: Path, vocabulary: Path | None) -> None:
        self.table = table
        if (table.suffix == ".npy") != (vocabulary is not None):
            raise ValueError(f"{table}: a .npy needs a vocabulary, a text file of its words, and only a .npy does")
        self._rows = None if vocabulary is None else np.load(table, mmap_mode="r", allow_pickle=False)
        self._places: dict[str, int] = {}
        if vocabulary is None:
            self._find_lines()
        else:
            self._number(vocabulary)

    def get(self, word: str) -> np.ndarray | None:
        """The vector of a word as it is written, else of its lower case; None if neither is in the table."""
        place = self._places.get(word, self._places.get(word.lower()))
        if place is None:
            return None
        return self._parsed(place) if self._rows is None else np.asarray(self._rows[place], dtype=np.float32)

    def _number(self, vocabulary: Path) -> None:
        words = vocabulary.read_text(encoding="utf-8-sig").splitlines()
        assert self._rows is not None
        if self._rows.ndim != 2 or len(self._rows) != len(words):
            raise ValueError(
                f"{self.table} has shape {self._rows.shape}, {vocabulary} has {len(words)} lines; expected (words, D)"
            )
        self.dim = self._rows.shape[1]
        for place, word in enumerate(words):
            self._places.setdefault(word.strip(), place)

    def _find_lines(self) -> None:
        """Where each word's line begins: a table of a million words is read in seconds, held without its numbers."""
        begin, self.dim = 0, 0
        with self.table.open("rb") as file:
            for number, line in enumerate(file):
                cells = line.split() if self.dim == 0 else line.split(None, 1)
                if len(cells) > 2 or (self.dim and cells):  # two numbers are the header of word2vec
                    self.dim = self.dim or len(cells) - 1
                    self._places.setdefault(cells[0].decode("utf-8", "replace"), begin)
                elif number > 0 and cells:
                    break
                begin += len(line)
        if not self._places:
            raise ValueError(f"{self.table}: has no lines of a word and its numbers")

    def _parsed(self, begin: int) -> np.ndarray:
        with self.table.open("rb") as file:
            file.seek(begin)
            cells = file.readline().split()
        try:
            return np.array([float(cell) for cell in cells[-self.dim :]], dtype=np.float32)
        except ValueError as error:
            shown = cells[0].decode("utf-8", "replace")
            raise ValueError(f"{self.table}: the line of {shown!r} has no {self.dim} numbers") from error


@lru_cache(maxsize=4)
def _vectors(table: Path, vocabulary: Path | None, files: tuple[tuple[int, int], ...]) -> Vectors:
    return Vectors(table, vocabulary)
