"""Samples that stay in memory, as they were read."""

from typing import Generic, TypeVar

Loads = TypeVar("Loads")


class Kept(Generic[Loads]):
    """The first samples, while there is room."""

    def __init__(self, megabytes: int) -> None:
        self._room = megabytes * 2**20
        self._loads: dict[str, Loads] = {}

    def add(self, id: str, loads: Loads, size: int) -> None:
        """Keeps a sample of that many bytes, if there is room. An epoch visits each once, so a later one replaces
        none."""
        if size <= self._room:
            self._room -= size
            self._loads[id] = loads

    def get(self, id: str) -> Loads | None:
        """What is kept of a sample."""
        return self._loads.get(id)
