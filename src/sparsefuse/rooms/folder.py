"""A folder of rooms, ready to train on: pictures, manifest.csv, and configurations that name both."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.files.lock import in_use
from sparsefuse.files.rows import write_table
from sparsefuse.files.whole import read_json, replacing, write_json, write_text
from sparsefuse.media.png import write_png
from sparsefuse.parallel.workers import each
from sparsefuse.rooms.cloud import cloud
from sparsefuse.rooms.configurations import configurations
from sparsefuse.rooms.names import CLASSES
from sparsefuse.rooms.scene import LEAST, MOST, Room, room
from sparsefuse.screen import progress_console
from sparsefuse.shown import counted, shown

STREAMS = ("rgb", "depth", "normal", "shade", "texture", "edges", "clear", "label")
"""A folder and a column of pictures each."""
FRACTIONS = (0.75, 0.1, 0.15)
"""Shares of train, valid and test."""
MOST_SCENES = 1_000_000
"""Of a set; the next seed's scenes come after them."""
PART = 16
"""Scenes that a process makes at a time."""


class Order(NamedTuple):
    """Some scenes that lack files, and what is wanted of each."""

    out: Path
    numbers: tuple[int, ...]
    size: int
    seed: int
    views: int
    """0 = pictures alone; else there are clouds, of as many views"""
    num_points: int


def generate(
    out: str | Path,
    scenes: int = 1200,
    size: int = 96,
    seed: int = 0,
    *,
    clouds: bool = False,
    frames: int = 1,
    num_points: int = 4096,
    fractions: Sequence[float] = FRACTIONS,
    jobs: int = 0,
    progress: bool = True,
) -> Path:
    """Writes `scenes` rooms in pictures of `size` x `size`, and returns the path of manifest.csv.

    Scene i of a set is `room(seed * 1_000_000 + i, size, size)`. Its split depends on i and the `fractions` (of train,
    valid and test) alone, so that a larger set of the same arguments begins with the smaller one: a rerun makes what is
    missing. With `clouds`, there is also a cloud of `num_points` points a scene, its objects' boxes, and the cameras
    of `frames` pictures. `jobs`: processes; 0 = one per core.

    Raises ValueError for numbers out of range and for a folder that holds another set, FileExistsError for one that
    holds anything else.
    """
    out = Path(out)
    _check(scenes, size, seed, frames, num_points, fractions)
    if frames > 1 and not clouds:
        raise ValueError(f"frames are of clouds: give clouds too, or 1 frame; got {frames}")
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; give a new or empty folder")
    settings: dict[str, Any] = {"size": size, "seed": seed, "fractions": [float(share) for share in fractions]}
    with in_use(out):
        settings = _claimed(out, settings | ({"frames": frames, "num_points": num_points} if clouds else {}))
        views, num_points = settings.get("frames", 0), settings.get("num_points", 0)
        splits = split_of_each(scenes, fractions)
        rows = [_row(number, split, views > 0) for number, split in enumerate(splits)]
        lacking = [number for number, row in enumerate(rows) if not _complete(out, row)]
        parts = (tuple(lacking[i : i + PART]) for i in range(0, len(lacking), PART))
        orders = [Order(out, part, size, seed, views, num_points) for part in parts]
        _make(orders, 1 if len(orders) == 1 else jobs, progress)
        manifest = write_table(out / "manifest.csv", rows)
        for name, text in configurations(out, scenes, size, seed, views > 0).items():
            if not (out / name).exists():  # which its user may have edited
                write_text(out / name, text)
    return manifest


def split_of_each(scenes: int, fractions: Sequence[float]) -> list[str]:
    """The splits of scenes 0, 1 ...: each goes to the one that lacks most of its share."""
    names, counts, splits = ("train", "valid", "test"), [0, 0, 0], []
    total = sum(fractions)
    for number in range(1, scenes + 1):
        lacks = [number * share / total - count for share, count in zip(fractions, counts, strict=True)]
        chosen = lacks.index(max(lacks))
        counts[chosen] += 1
        splits.append(names[chosen])
    return splits


def _check(scenes: int, size: int, seed: int, frames: int, num_points: int, fractions: Sequence[float]) -> None:
    """Raises ValueError for the first number that is out of its range."""
    ranges = {"scenes": (scenes, 1, MOST_SCENES), "size": (size, LEAST, MOST), "seed": (seed, 0, 2**31 - 1)}
    ranges |= {"frames": (frames, 1, 16), "num_points": (num_points, 1, 2**20)}
    for name, (value, low, high) in ranges.items():
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{name} must be a whole number of {low} to {high}; got {value!r}")
    if len(fractions) != 3 or not all(0 <= share <= 1 for share in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions are three shares of train, valid and test that sum to 1; got {list(fractions)}")


def _claimed(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, written into a new folder as rooms.json, or compared with those there: clouds it has, it keeps.

    Raises ValueError if they differ, FileExistsError for a folder with anything else.
    """
    record = out / "rooms.json"
    before: Any = {}
    if record.is_file():
        before = read_json(record)
        known = before.keys() & settings.keys() if isinstance(before, dict) else set()
        if not {"size", "seed", "fractions"} <= known or any(before[name] != settings[name] for name in known):
            raise ValueError(f"{out} holds rooms of {_told(before)}, not {_told(settings)}; give another folder")
    elif others := sorted(path.name for path in out.iterdir() if not path.name.startswith(".")):
        first = shown(", ".join(others[:3]))
        raise FileExistsError(f"{out} holds {counted(len(others), 'other file')} ({first}); give a new or empty folder")
    if before | settings != before:
        write_json(record, before | settings)
    return before | settings


def _told(settings: object) -> str:
    return shown(json.dumps(settings).replace('"', "").strip("{}"), 200)


def _complete(out: Path, row: dict[str, str]) -> bool:
    return all((out / file).is_file() for column, file in row.items() if column not in ("id", "split"))


def _make(orders: Sequence[Order], jobs: int, progress: bool) -> None:
    from rich.progress import Progress

    total = sum(len(order.numbers) for order in orders)
    console = progress_console()
    with (
        Progress(console=console, disable=not progress or not orders) as bar,
        closing(each(make, orders, jobs)) as results,
    ):
        task = bar.add_task("Generating rooms", total=total)
        for order, made in results:
            if made is None:
                raise RuntimeError(f"the process that made scenes from {order.numbers[0]} died; a rerun continues")
            bar.advance(task, made)


def make(order: Order) -> int:
    """Writes the files of these scenes, each whole; returns how many scenes."""
    for number in order.numbers:
        seed = order.seed * MOST_SCENES + number
        views = [room(seed, order.size, order.size, view=view) for view in range(max(order.views, 1))]
        for stream, pixels in pictures(views[0]).items():
            write_png(order.out / stream / f"{_name(number)}.png", pixels)
        if order.views:
            _write_cloud(order, number, views)
    return len(order.numbers)


def pictures(scene: Room) -> dict[str, np.ndarray]:
    """Column of the manifest -> pixels."""
    return {
        "rgb": scene.rgb,
        "depth": scene.sensor,
        "normal": _bytes((scene.normal + 1) / 2),
        "shade": _bytes(scene.shade),
        "texture": _bytes(scene.texture),
        "edges": _bytes(scene.edges),
        "clear": scene.clear,
        "label": scene.label,
    }


def _bytes(shares: np.ndarray) -> np.ndarray:
    return (np.clip(shares, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)


def _write_cloud(order: Order, number: int, views: list[Room]) -> None:
    """The cloud of all views, the boxes of objects that one of them sees, and where each view's picture is."""
    name, cameras, boxes = _name(number), [], {}
    for view, scene in enumerate(views):
        picture = f"rgb/{name}.png" if view == 0 else f"views/{name}_{view}.png"
        if view:
            write_png(order.out / picture, scene.rgb)
        camera = {"picture": picture, "size": list(scene.label.shape)}
        cameras.append(camera | {"K": scene.camera.K.tolist(), "pose": scene.camera.pose.tolist()})
        for centre, size, yaw, label, instance in zip(*scene.boxes, strict=True):
            box = {"class": CLASSES[label], "centre": centre.tolist(), "size": size.tolist(), "yaw": float(yaw)}
            boxes[int(instance)] = box
    points = cloud(views, order.num_points, number)
    with replacing(order.out / f"cloud/{name}.npz", durable=False) as temporary:
        np.savez(temporary, xyz=points.xyz, rgb=points.rgb)
    _write_line(order.out / f"cameras/{name}.json", cameras)
    _write_line(order.out / f"boxes/{name}.json", [boxes[instance] for instance in sorted(boxes)])


def _write_line(path: Path, value: object) -> None:
    with replacing(path, durable=False) as temporary:
        temporary.write_text(json.dumps(value) + "\n", encoding="utf-8")


def _row(number: int, split: str, clouds: bool) -> dict[str, str]:
    name = _name(number)
    row = {"id": name, "split": split} | {stream: f"{stream}/{name}.png" for stream in STREAMS}
    if clouds:
        row |= {"cloud": f"cloud/{name}.npz", "cameras": f"cameras/{name}.json", "boxes": f"boxes/{name}.json"}
    return row


def _name(number: int) -> str:
    return f"room_{number:06d}"
