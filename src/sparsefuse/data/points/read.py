"""Reads the files of a scene in space: a cloud, its boxes, and the cameras of its pictures.

cloud     .npz with xyz (N, 3) in metres, and rgb (N, 3) where colours are known; .npy (N, 3) or (N, 6); or .ply;
          rows that are NaN or infinite are no points
boxes     .json, a list of {"class": "crate", "centre": [x, y, z], "size": [x, y, z], "yaw": radians}
cameras   .json, a list of {"picture": file, "size": [rows, columns], "K": 3 x 3, "pose": 4 x 4, camera to world}
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.data.arrays import load
from sparsefuse.data.points.ply import read_ply
from sparsefuse.files.allowed import allowed, lies_below
from sparsefuse.files.references import suffix
from sparsefuse.files.skipped import Unusable, one_file
from sparsefuse.shown import said, shown

MOST_BYTES = 64 * 2**20
"""of a JSON file"""
FAR = 1e5
"""metres from the middle of the world beyond which nothing is"""
MOST_YAW = 4 * math.pi
"""more than two turns are rather degrees"""
MOST_FOCAL = 1e9
"""pixels in a camera's K"""


class Points(NamedTuple):
    """A cloud as its file has it."""

    xyz: np.ndarray
    """(N, 3) float32"""
    rgb: np.ndarray | None
    """(N, 3) float32 from 0 to 1, if asked for"""
    nowhere: int = 0
    """rows that are NaN or infinite, as cameras write them where nothing came back; they are left out"""


class Box(NamedTuple):
    """An object that is known."""

    label: str
    row: tuple[float, ...]
    """7 numbers: centre, size, yaw"""


class PictureCamera(NamedTuple):
    """A camera with its picture."""

    picture: str
    """relative to the manifest's folder"""
    size: tuple[int, int]
    """rows and columns"""
    K: np.ndarray
    """(3, 3) float32"""
    pose: np.ndarray
    """(4, 4) float32"""


def read_cloud(ref: str, root: Path, *, color: bool) -> Points:
    """The cloud below `root`, with colours if asked for. Raises Unusable with the reason."""
    if suffix(ref) == ".npz" and ((root / ref).is_file() or "#" not in ref):
        xyz = load(f"{ref}#xyz", root)
        return as_points(xyz, load(f"{ref}#rgb", root) if color else None, ref, color=color)
    if suffix(ref) == ".ply":
        if not (root / ref).is_file():
            raise Unusable(f"{ref}: file not found in {root}")
        xyz, rgb = read_ply(root / ref, ref)
        return as_points(xyz, rgb if color else None, ref, color=color)
    values = load(ref, root)
    more = values[:, 3:6] if color and values.ndim == 2 and values.shape[1] >= 6 else None
    return as_points(values[:, :3] if values.ndim == 2 else values, more, ref, color=color)


def as_points(xyz: np.ndarray, rgb: np.ndarray | None, name: str = "the cloud", *, color: bool) -> Points:
    """A cloud of arrays, of its points that are somewhere; `name` begins the message of errors. Raises Unusable."""
    for part, values in (("xyz", xyz), ("rgb", rgb)):
        if values is None:
            continue
        if values.dtype.kind not in "fiu":
            raise Unusable(f"{name}: {part} does not hold numbers, expected points")
        if values.ndim != 2 or values.shape[1] != 3:
            raise Unusable(f"{name}: {part} has shape {values.shape}, expected (points, 3)")
    if not len(xyz):
        raise Unusable(f"{name}: has no points; expected at least one")
    somewhere = np.asarray(np.isfinite(xyz).all(1))
    if not somewhere.any():
        raise Unusable(f"{name}: all of {len(xyz):,} points are NaN or infinite; expected one that is not, at least")
    nowhere, xyz = int((~somewhere).sum()), xyz[somewhere]
    with np.errstate(over="ignore"):  # what does not fit float32 is too far away as well
        xyz = np.ascontiguousarray(xyz, np.float32)
    if np.abs(xyz).max() > FAR:
        raise Unusable(f"{name}: has points {np.abs(xyz).max():.3g} from the origin; expected metres, at most {FAR:g}: "
                       "subtract a point of the scene from points, boxes and poses, or float32 loses cm")  # fmt: skip
    if not color:
        return Points(xyz, None, nowhere)
    if rgb is None:
        raise Unusable(f"{name}: has no colours, which points.channels asks for; save them as rgb, or leave out color")
    if len(rgb) != len(somewhere):
        raise Unusable(f"{name}: has {len(rgb):,} colours for {len(somewhere):,} points; expected one each")
    return Points(xyz, _shares(rgb[somewhere], name), nowhere)


def _shares(rgb: np.ndarray, name: str) -> np.ndarray:
    """Whole numbers of 0 to 255, or fractions of 0 to 1, as the latter."""
    most = 1.0 if rgb.dtype.kind == "f" else 255.0
    low, high = float(rgb.min()), float(rgb.max())
    if not 0 <= low <= high <= most:  # NaN is no number of them
        raise Unusable(
            f"{name}: rgb goes from {low:.4g} to {high:.4g}; expected whole numbers up to 255, or fractions up to 1"
        )
    return (rgb / most).astype(np.float32)


def read_boxes(ref: str, root: Path) -> list[Box]:
    """The boxes of a scene, which may have none. Raises Unusable with the reason."""
    return as_boxes(_read(ref, root), ref)


def as_boxes(values: Any, name: str = "the boxes") -> list[Box]:
    """Boxes of what a file holds. Raises Unusable."""
    if not isinstance(values, list):
        raise Unusable(f"{name}: holds {_kind(values)}, expected a list of boxes")
    return [_box(value, f"{name}: box {i}") for i, value in enumerate(values, 1)]


def _box(value: Any, place: str) -> Box:
    if not isinstance(value, dict):
        raise Unusable(f"{place} is {_kind(value)}, expected class, centre, size and yaw")
    label = value.get("class")
    if not isinstance(label, str) or not label.strip():
        raise Unusable(f"{place} has class {shown(label)}, expected a name")
    place = f"{place} ({shown(label)})"
    centre, size = (_numbers(value, part, (3,), place) for part in ("centre", "size"))
    yaw = value.get("yaw", 0.0)
    if isinstance(yaw, bool) or not isinstance(yaw, (int, float)) or not abs(yaw) <= MOST_YAW:  # NaN is not, either
        raise Unusable(
            f"{place} has yaw {shown(yaw)}, expected radians, {MOST_YAW:.4g} at most; a turn of 90 degrees is 1.5708"
        )
    if size.min() <= 0:
        raise Unusable(f"{place} has size {size.tolist()}, expected lengths above 0, in metres")
    if max(np.abs(centre).max(), size.max()) > FAR:
        raise Unusable(
            f"{place} has centre {centre.tolist()} and size {size.tolist()}, expected metres, at most {FAR:g}"
        )
    return Box(label.strip(), (*centre.tolist(), *size.tolist(), float(yaw)))


def read_cameras(ref: str, root: Path) -> list[PictureCamera]:
    """The cameras of a scene's pictures. Raises Unusable with the reason."""
    return as_cameras(_read(ref, root), ref)


def as_cameras(values: Any, name: str = "the cameras") -> list[PictureCamera]:
    """Cameras of what a file holds. Raises Unusable."""
    if not isinstance(values, list):
        raise Unusable(f"{name}: holds {_kind(values)}, expected a list of cameras")
    return [_camera(value, f"{name}: camera {i}") for i, value in enumerate(values, 1)]


def _camera(value: Any, place: str) -> PictureCamera:
    if not isinstance(value, dict):
        raise Unusable(f"{place} is {_kind(value)}, expected picture, size, K and pose")
    picture = value.get("picture")
    if not isinstance(picture, str) or not picture:
        raise Unusable(f"{place} names the picture {shown(picture)}, expected a file")
    size = _numbers(value, "size", (2,), place)
    if size.min() < 1 or size.max() > 100_000 or (size != size.round()).any():
        raise Unusable(f"{place} has size {size.tolist()}, expected rows and columns")
    K, pose = _numbers(value, "K", (3, 3), place), _numbers(value, "pose", (4, 4), place)
    if np.abs(K).max() > MOST_FOCAL or abs(np.linalg.det(K)) < 1e-9 or (K[2] != (0, 0, 1)).any():
        raise Unusable(f"{place} has K {K.tolist()}, expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    turn = pose[:3, :3]
    if (pose[3] != (0, 0, 0, 1)).any() or np.abs(turn @ turn.T - np.eye(3)).max() > 1e-2:
        raise Unusable(
            f"{place} has pose {pose.tolist()}, expected camera to world: rotation and position, then 0, 0, 0, 1"
        )
    if np.linalg.det(turn) < 0:
        raise Unusable(f"{place} has pose {pose.tolist()}, whose rotation mirrors; expected right, down and "
                       "forward, of which one points the other way")  # fmt: skip
    if np.abs(pose[:3, 3]).max() > FAR:
        raise Unusable(f"{place} stands at {pose[:3, 3].tolist()}, expected metres, at most {FAR:g}")
    return PictureCamera(picture, (int(size[0]), int(size[1])), K.astype(np.float32), pose.astype(np.float32))


def _numbers(value: dict[str, Any], part: str, shape: tuple[int, ...], place: str) -> np.ndarray:
    """A field as float64 of that shape."""
    try:
        array = np.asarray(value.get(part))
        if array.dtype.kind not in "fiu" or array.shape != shape or not np.isfinite(array).all():
            raise ValueError
    except ValueError as error:
        expected = " x ".join(map(str, shape))
        raise Unusable(f"{place} has {part} {shown(value.get(part))}, expected {expected} finite numbers") from error
    return array.astype(np.float64)


def _read(ref: str, root: Path) -> Any:
    """A JSON file."""
    path = root / ref
    if suffix(ref) != ".json":
        raise Unusable(f"{ref}: is a {suffix(ref) or 'file without a suffix'}, expected .json")
    if not path.is_file():
        raise Unusable(f"{ref}: file not found in {root}")
    if path.stat().st_size > MOST_BYTES:
        raise Unusable(f"{ref}: has {path.stat().st_size / 1e6:,.0f} MB, expected at most {MOST_BYTES / 1e6:,.0f}")
    with one_file(ref):
        try:
            return json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise Unusable(f"{ref}: is not JSON ({said(error)})") from error


def check_allowed(camera: PictureCamera, root: Path) -> None:
    """Raises Unusable for a picture that --offline does not read, as the manifest's own files are refused."""
    roots = allowed()
    if roots is not None and not lies_below(root / camera.picture, [str(root), *roots]):
        raise Unusable(f"{camera.picture}: lies outside the manifest's folder, which --offline does not read")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
