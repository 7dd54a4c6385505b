"""Points of PLY files, in text and in binary of both orders; files that are none are named."""

from pathlib import Path

import numpy as np
import pytest

from sparsefuse.data.points.read import read_cloud
from sparsefuse.files.skipped import Unusable

PROPERTIES = (
    "property float x\nproperty double y\nproperty float z\n"
    "property uchar red\nproperty uchar green\nproperty uchar blue\n"
)
POINTS = [(1.5, -2, 3, 255, 0, 51), (0, 4, -0.25, 0, 102, 255)]


def header(format: str = "ascii", properties: str = PROPERTIES, count: object = 2, more: str = "") -> bytes:
    text = f"ply\nformat {format} 1.0\ncomment made by hand\n{more}element vertex {count}\n{properties}"
    return f"{text}element face 1\nproperty list uchar int vertex_indices\nend_header\n".encode()


def binary(order: str) -> bytes:
    fields = [("x", "f4"), ("y", "f8"), ("z", "f4"), ("r", "u1"), ("g", "u1"), ("b", "u1")]
    return np.array(POINTS, [(name, order + kind) for name, kind in fields]).tobytes() + b"\3\0\0\0\0"


TEXT = b"1.5 -2 3 255 0 51\n0 4 -0.25 0 102 255\n3 0 1 1\n"


@pytest.mark.parametrize(
    "content",
    [header() + TEXT, header("binary_little_endian") + binary("<"), header("binary_big_endian") + binary(">")],
)
def test_points_and_colours_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ply").write_bytes(content)
    points = read_cloud("a.ply", tmp_path, color=True)
    assert points.xyz.tolist() == [[1.5, -2, 3], [0, 4, -0.25]]
    assert points.rgb is not None
    assert points.rgb.round(3).tolist() == pytest.approx(np.array([[1, 0, 0.2], [0, 0.4, 1]]))
    assert read_cloud("a.ply", tmp_path, color=False).rgb is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"plx\n", "is not a PLY file"),
        (b"ply\n", "has no end_header"),
        (header("zip") + TEXT, "has format zip"),
        (header(properties="property list uchar int x\n") + TEXT, "expected each once, a number"),
        (header(properties="property float x\nproperty float x\n") + TEXT, "expected each once, a number"),
        (header(properties="property float x\n") + b"1\n2\n", "its points have no y; they have x"),
        (header(more="element edge 1\nproperty int a\n") + TEXT, "its first element is edge, expected vertex"),
        (header(count=10**12) + TEXT, "points without the|was it cut short"),
        (header("binary_little_endian", count=10**15) + binary("<"), "was it cut short"),
        (header(count="many") + TEXT, "its first element is face"),
        (header(count=0), "has no point"),
        (header() + b"1 2\n3 4\n", "points without the 6 numbers"),
        (header() + b"nan 2 3 0 0 0\n1 inf 3 4 5 6\n", "all of 2 points are NaN or infinite"),
        (None, "file not found"),
    ],
)
def test_files_that_hold_no_points_are_named(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(Unusable, match=why) as error:
        read_cloud("a.ply", tmp_path, color=False)
    assert str(error.value).startswith("a.ply: ")


def test_colours_that_are_asked_for_and_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(header(properties=PROPERTIES[:52], count=1) + b"1 2 3\n")
    with pytest.raises(Unusable, match=r"has no colours, which points\.channels asks for"):
        read_cloud("a.ply", tmp_path, color=True)
