"""Pictures come out upright, however they are stored."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sparsefuse.media import read_frames, read_size, write_clip
from sparsefuse.media.probe import probe

QUADRANTS = np.kron([[30, 100], [170, 240]], np.ones((32, 48))).astype(np.uint8)  # (64, 96)
ONE = 1 << 16


def matrices() -> list[tuple[int, int, int, int]]:
    """(a, b, c, d) of four quarter turns, each as it is, mirrored, flipped and both."""
    found = []
    for quarters, mirror, flip in itertools.product(range(4), (1, -1), (1, -1)):
        cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
        found.append((cos * mirror, -sin * flip, sin * mirror, cos * flip))
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("turned") / "plain.mp4"
    write_clip(path, QUADRANTS[None, :, :, None].repeat(3, axis=3), fps=10)
    return path


@pytest.mark.parametrize("matrix", matrices())
def test_a_film_is_shown_as_its_matrix_says(plain: Path, tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    a, b, c, d = matrix
    content = plain.read_bytes()
    place = content.index(b"tkhd") + 4 + 40  # version 0: nine 32-bit numbers after 40 bytes, ISO 14496-12, 8.3.2
    numbers = [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30]
    packed = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(content[:place] + packed + content[place + 36 :])
    shown = {}
    for y, x in np.ndindex(QUADRANTS.shape):
        shown[b * x + d * y, a * x + c * y] = QUADRANTS[y, x]
    top, left = (min(place[axis] for place in shown) for axis in (0, 1))
    expected = np.zeros(QUADRANTS.shape if a else QUADRANTS.shape[::-1])
    for (y, x), value in shown.items():
        expected[y - top, x - left] = value
    found = read_frames(turned, gray=True).pixels[0, ..., 0]
    np.testing.assert_allclose(found.astype(float), expected, atol=12)  # a lossy codec
    picture = probe(turned).picture
    assert picture is not None
    assert read_size(turned) == (picture.height, picture.width) == expected.shape
    assert read_frames(turned, size=(20, 10)).pixels.shape == (1, 20, 10, 3)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_still_is_shown_as_its_exif_says(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    Image.fromarray(QUADRANTS).convert("RGB").save(path, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    with Image.open(path) as stored:
        expected = np.array(ImageOps.exif_transpose(stored).convert("L"), float)
    np.testing.assert_allclose(read_frames(path, gray=True).pixels[0, ..., 0], expected, atol=12)


def test_an_animated_png_opens(tmp_path: Path) -> None:
    frames = [Image.fromarray(QUADRANTS), Image.fromarray(255 - QUADRANTS)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=100)
    found = read_frames(tmp_path / "a.png", gray=True)
    np.testing.assert_allclose(found.pixels[..., 0].astype(float), [QUADRANTS, 255.0 - QUADRANTS], atol=2)
    np.testing.assert_allclose(found.times, [0, 0.1])
