"""What a folder of rooms was asked to hold: checked, written into it as rooms.json, and compared in a rerun."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse.files.whole import read_json, write_json
from sparsefuse.rooms.scene import LEAST, MOST
from sparsefuse.shown import counted, shown

RECORD = "rooms.json"
MOST_SCENES = 1_000_000
"""Of a set; the next seed's scenes come after them."""
MOST_FRAMES, MOST_POINTS = 16, 2**20


class Settings(NamedTuple):
    """Of all scenes of a set."""

    size: int
    """rows and columns of a picture"""
    seed: int
    fractions: tuple[float, ...]
    """shares of train, valid and test"""
    frames: int = 0
    """pictures of a scene that its cloud is made of; 0 = no clouds"""
    num_points: int = 0

    def check(self) -> "Settings":
        """Itself. Raises ValueError for the first number that is out of its range."""
        check_whole("size", self.size, LEAST, MOST)
        check_whole("seed", self.seed, 0, 2**31 - 1)
        shares = [*self.fractions]
        if len(shares) != 3 or not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"fractions are three shares of train, valid and test that sum to 1; got {shares}")
        if self.frames or self.num_points:
            check_whole("frames", self.frames, 1, MOST_FRAMES)
            check_whole("num_points", self.num_points, 1, MOST_POINTS)
        return self

    def write(self, out: Path) -> None:
        """Into the folder."""
        write_json(out / RECORD, self._asdict())

    @property
    def bytes_of_a_scene(self) -> int:
        """On the disk, about."""
        return (5 + 2 * self.frames) * self.size**2 + 15 * self.num_points


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """Raises ValueError for anything but a whole number in that range."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number of {low} to {high}; got {shown(value)}")


def agreed(out: Path, settings: Settings) -> Settings:
    """The settings of a folder that is new, or has a set with them; clouds that it has, it keeps.

    Raises ValueError if they differ, FileExistsError for a folder with anything else.
    """
    before = _recorded(out / RECORD) if (out / RECORD).is_file() else None
    if before is None and (others := sorted(path.name for path in out.iterdir() if not path.name.startswith("."))):
        first = shown(", ".join(others[:3]))
        raise FileExistsError(f"{out} holds {counted(len(others), 'other file')} ({first}); give a new or empty folder")
    if before and not (before.frames and settings.frames):  # clouds are added, or kept
        more = before if before.frames else settings
        settings = settings._replace(frames=more.frames, num_points=more.num_points)
        before = before._replace(frames=more.frames, num_points=more.num_points)
    if before and before != settings:
        raise ValueError(f"{out} holds rooms of {_told(before)}, not {_told(settings)}; give another folder")
    return settings


def check_space(out: Path, settings: Settings, scenes: int) -> None:
    """Raises ValueError if that many scenes do not fit on the folder's disk."""
    needed, free = scenes * settings.bytes_of_a_scene, shutil.disk_usage(out).free
    if needed > free:
        raise ValueError(
            f"{scenes} scenes of {settings.size} x {settings.size} take about {needed / 1e9:.1f} GB; {out} has "
            f"{free / 1e9:.1f} GB free: ask for fewer or smaller ones"
        )


def _recorded(record: Path) -> Settings:
    try:
        fields: Any = read_json(record)
        before = Settings(**fields)
        return before._replace(fractions=tuple(before.fractions)).check()
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{record} is not one that `generate rooms` wrote; give a new or empty folder") from error


def _told(settings: Settings) -> str:
    return shown(json.dumps(settings._asdict()).replace('"', "").strip("{}"), 200)
