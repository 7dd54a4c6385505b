"""A folder of rooms, ready to train on: pictures, manifest.csv, and configurations that name both."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sparsefuse.files.lock import in_use
from sparsefuse.files.rows import write_table
from sparsefuse.files.whole import replacing, write_text
from sparsefuse.media.png import write_png
from sparsefuse.parallel.workers import each
from sparsefuse.rooms.cloud import cloud
from sparsefuse.rooms.configurations import configurations
from sparsefuse.rooms.names import CLASSES
from sparsefuse.rooms.scene import Room, room
from sparsefuse.rooms.settings import MOST_SCENES, Settings, agreed, check_space, check_whole
from sparsefuse.screen import progress_console

STREAMS = ("rgb", "depth", "normal", "shade", "texture", "edges", "clear", "label")
"""A folder and a column of pictures each."""
FRACTIONS = (0.75, 0.1, 0.15)
"""Shares of train, valid and test."""
PART = 16
"""Scenes that a process makes at a time."""


class Order(NamedTuple):
    """Some scenes that lack files, and what is wanted of each."""

    out: Path
    numbers: tuple[int, ...]
    settings: Settings


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
    settings = Settings(size, seed, tuple(float(share) for share in fractions))
    if clouds:
        settings = settings._replace(frames=frames, num_points=num_points)
    elif frames > 1:
        raise ValueError(f"frames are of clouds: give clouds too, or 1 frame; got {frames}")
    check_whole("scenes", scenes, 1, MOST_SCENES)
    settings.check()
    if (out.exists() or out.is_symlink()) and not out.is_dir():
        raise FileExistsError(f"{out} is a file, or a link to nothing; give a new or empty folder")
    with in_use(out):
        settings = agreed(out, settings)
        rows = [_row(i, split, settings.frames > 0) for i, split in enumerate(split_of_each(scenes, fractions))]
        lacking = [number for number, row in enumerate(rows) if not _complete(out, row)]
        check_space(out, settings, len(lacking))
        settings.write(out)
        parts = (tuple(lacking[i : i + PART]) for i in range(0, len(lacking), PART))
        orders = [Order(out, part, settings) for part in parts]
        _make(orders, 1 if len(orders) == 1 else jobs, progress)
        manifest = write_table(out / "manifest.csv", rows)
        for name, text in configurations(out, scenes, settings).items():
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


def _complete(out: Path, row: dict[str, str]) -> bool:
    """Whether all files of a scene are there, and none is empty, as after a loss of power."""
    files = (out / file for column, file in row.items() if column not in ("id", "split"))
    return all(file.is_file() and file.stat().st_size for file in files)


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
    size, seed, _, frames, _ = order.settings
    for number in order.numbers:
        views = [room(seed * MOST_SCENES + number, size, size, view=view) for view in range(max(frames, 1))]
        for stream, pixels in pictures(views[0]).items():
            write_png(order.out / stream / f"{_name(number)}.png", pixels)
        if frames:
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
    points = cloud(views, order.settings.num_points, number)
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
