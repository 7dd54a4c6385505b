"""PGM and PPM hold their numbers up to any largest value; these are read as they are, and not stretched to all bits."""

import numpy as np
import pytest
import torch

from sparsefuse.config.pixels import PictureStream
from sparsefuse.data.pixels.read import read_labels, read_picture
from sparsefuse.files.skipped import Unusable
from sparsefuse.media.still import read_still


def write(path, values, most, comment=b""):
    """(H, W) or (H, W, 3) whole numbers as the Netpbm manual says: one byte up to 255, else two, the higher first."""
    rows, columns = values.shape[:2]
    kind = b"P6" if values.ndim == 3 else b"P5"
    numbers = b"".join(int(v).to_bytes(1 if most < 256 else 2, "big") for v in values.ravel())
    path.write_bytes(kind + comment + b"\n%d %d\n%d\n" % (columns, rows, most) + numbers)
    return path


@pytest.mark.parametrize("most", [1, 9, 11, 200, 254, 255, 256, 1000, 65535])
def test_labels_are_the_numbers_that_were_written(tmp_path, most):
    values = np.arange(12).reshape(3, 4).clip(0, most)
    assert read_labels(write(tmp_path / "a.pgm", values, most)).tolist() == values.tolist()


@pytest.mark.parametrize("most", [4095, 10_000, 65535])
def test_depth_is_in_millimetres_whatever_the_header_says_is_the_largest(tmp_path, most):
    x = read_picture(write(tmp_path / "a.pgm", np.array([[0, 1234], [2500, 4000]]), most), PictureStream())
    torch.testing.assert_close(x, torch.tensor([[[0, 0], [1.234, 1]], [[2.5, 1], [4, 1]]]))


def test_colours_and_grays_are_shares_of_the_largest_value(tmp_path):
    colour = read_picture(write(tmp_path / "a.ppm", np.array([[[0, 10, 40]]]), 40), PictureStream())
    assert colour.tolist() == [[[0, 0.25, 1]]]
    gray = read_picture(write(tmp_path / "a.pgm", np.array([[0, 300]]), 600), PictureStream("gray"))
    assert gray.tolist() == [[[0], [0.5]]]
    assert read_still(tmp_path / "a.pgm").bits == 10


def test_comments_in_the_header_are_no_numbers(tmp_path):
    path = write(tmp_path / "a.pgm", np.array([[7, 8]]), 9, comment=b" # 3 of 4\n#x")
    assert read_labels(path).tolist() == [[7, 8]]


def test_headers_that_are_wrong_are_named(tmp_path):
    path = write(tmp_path / "a.pgm", np.array([[7, 8]]), 9)
    whole = path.read_bytes()
    for content, says in {
        whole[:-1]: "declares 2 x 1 pixels and holds fewer",
        whole.replace(b"2 1", b"99999999 99999999"): "holds fewer",
        whole.replace(b"2 1", b"0 1"): "declares 0 x 1 pixels",
        whole.replace(b"\n9\n", b"\n7\n"): "holds the value 8, its header says 7",
        whole.replace(b"\n9\n", b"\n99999\n"): "up to 99999",
        b"P5 2": "has no header",
    }.items():
        path.write_bytes(content)
        with pytest.raises(Unusable, match=says):
            read_labels(path)
