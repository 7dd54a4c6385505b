"""MATLAB 7.3 files, as MATLAB lays them out: HDF5 behind a block of 512 bytes, axes reversed, a class by name."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from sparsefuse.data.arrays import read_array
from sparsefuse.data.matlab import read_texts
from sparsefuse.files.skipped import Unusable


def write(path: Path, arrays: dict[str, tuple[np.ndarray, str]], **more: object) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, (values, kind) in arrays.items():
            data = file.create_dataset(name, data=values.T, **more)  # pyright: ignore[reportArgumentType]
            data.attrs["MATLAB_class"] = np.bytes_(kind)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def test_an_array_is_read_as_matlab_shows_it(tmp_path: Path) -> None:
    values = np.arange(6.0).reshape(2, 3)
    write(tmp_path / "a.mat", {"x": (values, "double")}, compression="gzip")
    assert read_array("a.mat", tmp_path).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_only_numbers_count_and_several_arrays_are_named(tmp_path: Path) -> None:
    text = np.array([[104, 105]], np.uint16)
    write(tmp_path / "a.mat", {"x": (np.ones((2, 3)), "single"), "title": (text, "char")})
    assert read_array("a.mat", tmp_path).shape == (2, 3)
    write(tmp_path / "b.mat", {"x": (np.ones((2, 3)), "int16"), "y": (np.full((1, 2), 7.0), "double")})
    assert read_array("b.mat#y", tmp_path).tolist() == [[7, 7]]
    with pytest.raises(Unusable, match="holds 2 arrays"):
        read_array("b.mat", tmp_path)


@pytest.mark.parametrize("cut", [520, 700])
def test_a_broken_file_is_one_sentence(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.mat"
    write(path, {"x": (np.ones((50, 3)), "double")})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(Unusable, match="cannot be read, truncated"):
        read_array("a.mat", tmp_path)


def test_what_it_declares_is_bounded(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file.create_dataset("x", shape=(10**6, 10**4), dtype="f8", fillvalue=1.0).attrs["MATLAB_class"] = np.bytes_(
            "double"
        )
    with (tmp_path / "a.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    with pytest.raises(Unusable, match="GB of memory"):
        read_array("a.mat", tmp_path)


def test_texts_are_read_from_cells_and_structs(tmp_path):
    cells = np.array([["one", "zwölf ü"], ["", "four"]], object)
    rooms = np.zeros((1, 2), dtype=[("path", object), ("boxes", object)])
    rooms[0, 0] = ("a/b.png", np.array(["chair", 3.0], object))
    rooms[0, 1] = ("c/d.png", np.zeros((0, 0)))
    for compressed in (False, True):
        path = tmp_path / f"{compressed}.mat"
        savemat(path, {"cells": cells, "rooms": rooms, "x": np.eye(2)}, do_compression=compressed)
        texts = read_texts(path)
        assert sorted(text for text in texts["cells"] if text) == ["four", "one", "zwölf ü"]
        assert texts["rooms"] == ["a/b.png", "chair", "c/d.png"]
        assert texts["x"] == []
