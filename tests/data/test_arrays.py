import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sparsefuse.data.arrays import load, read_array
from sparsefuse.files.skipped import Unusable

VALUES = np.array([[1, 2, 3], [4, 5, 6.5]])


def refused(ref, root):
    with pytest.raises(Unusable) as error:
        read_array(ref, root)
    assert ref in str(error.value)
    return str(error.value)


def expect(ref, root, values=VALUES):
    found = read_array(ref, root)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values)


def test_npy_and_npz_are_read(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    np.savez(tmp_path / "a.npz", one=VALUES, other=-VALUES)
    expect("a.npy", tmp_path)
    expect("a.npz#other", tmp_path, -VALUES)


def test_mat_is_read(tmp_path):
    pytest.importorskip("scipy").io.savemat(tmp_path / "a.mat", {"d_iner": VALUES, "note": "x"})
    expect("a.mat#d_iner", tmp_path)
    assert "did you mean 'd_iner'" in refused("a.mat#d_inr", tmp_path)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", ["f8", "f4", "u1", "i2", "i8", ">f8"])
def test_mat_holds_what_scipy_wrote(tmp_path, dtype, compressed):
    io = pytest.importorskip("scipy.io")
    values = (np.arange(24).reshape(2, 3, 4) - (0 if dtype == "u1" else 9)).astype(dtype)
    held = {"cube": values, "x": values[:, 0], "text": "abc", "cell": np.array([1, "a"], object), "z": values[0] * 1j}
    io.savemat(tmp_path / "a.mat", held, do_compression=compressed)
    np.testing.assert_array_equal(load("a.mat#cube", tmp_path), io.loadmat(tmp_path / "a.mat")["cube"])
    np.testing.assert_array_equal(load("a.mat#x", tmp_path), values[:, 0])
    assert "holds 2 arrays (cube, x)" in refused("a.mat", tmp_path)


@pytest.mark.parametrize("suffix", ["mat", "h5"])
@pytest.mark.parametrize("tail", [b"", b"\0", b"\xff"])
def test_a_broken_download_of_any_length_ends_no_process(tmp_path, suffix, tail):
    path = tmp_path / f"a.{suffix}"
    if suffix == "mat":
        pytest.importorskip("scipy.io").savemat(path, {"x": VALUES})
    else:
        with pytest.importorskip("h5py").File(path, "w") as file:
            file["x"] = VALUES
    whole = path.read_bytes()
    refusals = 0
    for length in range(0, len(whole), 23):
        path.write_bytes(whole[:length] + tail * (len(whole) - length))
        try:
            found = read_array(path.name, tmp_path)
        except Unusable:
            refusals += 1
        else:  # only the values were lost, which no header can tell
            assert tail
            assert found.shape == VALUES.shape
    assert refusals > 5


def test_a_row_of_an_h5_array_is_read_by_its_number(tmp_path):
    with pytest.importorskip("h5py").File(tmp_path / "a.h5py", "w") as file:
        file["rgb"] = np.stack([VALUES, -VALUES])
        file["clips/0"] = 2 * VALUES
    expect("a.h5py#rgb/1", tmp_path, -VALUES)
    expect("a.h5py#clips/0", tmp_path, 2 * VALUES)
    assert "rgb has 2 rows, counted from 0" in refused("a.h5py#rgb/2", tmp_path)


def test_h5_is_read_by_a_key_with_folders(tmp_path):
    with pytest.importorskip("h5py").File(tmp_path / "a.h5", "w") as file:
        file["data/clip1/features"] = VALUES
        file["data/clip2/features"] = -VALUES
    expect("a.h5#data/clip2/features", tmp_path, -VALUES)
    assert "did you mean 'data/clip1/features'" in refused("a.h5#data/clip1/feature", tmp_path)
    assert "holds 2 arrays" in refused("a.h5", tmp_path)


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8", "uint16"]
)
def test_safetensors_is_read_whatever_its_numbers_are(tmp_path, dtype):
    values = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    save_file({"x": torch.tensor(values).to(getattr(torch, dtype))}, tmp_path / "a.safetensors")
    expect("a.safetensors", tmp_path, values)


def test_complex_numbers_are_no_features(tmp_path):
    save_file({"x": torch.ones(2, 3, dtype=torch.complex64)}, tmp_path / "a.safetensors")
    assert "holds complex64 values, expected numbers" in refused("a.safetensors", tmp_path)


@pytest.mark.parametrize("head", ["", "x,y,z\n", "﻿x,y,z\n"])
def test_csv_is_read_with_or_without_header(tmp_path, head):
    (tmp_path / "a.csv").write_text(head + "1,2,3\n4,5,6.5\n", encoding="utf-8")
    expect("a.csv", tmp_path)


def test_a_vector_becomes_one_feature(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(4, dtype=np.uint8))
    expect("a.npy", tmp_path, [[0], [1], [2], [3]])


def test_columns_of_npy_are_picked_and_checked(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(2, 6)
    np.save(tmp_path / "a.npy", values)
    assert read_array("a.npy#3:5", tmp_path).tolist() == [[3, 4], [9, 10]]
    for key in ("4:7", "3:3", "5:4"):
        with pytest.raises(Unusable, match=rf"a.npy#{key}: has shape \(2, 6\), which has no columns"):
            read_array(f"a.npy#{key}", tmp_path)


def test_a_file_name_may_hold_a_hash(tmp_path):
    np.save(tmp_path / "take#3.npy", VALUES)
    expect("take#3.npy", tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((0, 3)), "is empty, shape (0, 3)"),
        (np.zeros((3, 0)), "is empty, shape (3, 0)"),
        (np.zeros((2, 3, 4)), "has shape (2, 3, 4), expected two axes"),
        (np.float64(3), "has shape (), expected two axes"),
        (np.array([["a", "b"]]), "expected numbers"),
        (np.array([[1j]]), "holds complex128"),
        (np.array([[0, 1], [np.nan, np.inf]]), "2 of 4 values are NaN or infinite, the first at row 1, column 0"),
        (np.array([[0, 1e300]]), "1 of 2 values are NaN or infinite, the first at row 0, column 1"),
    ],
)
def test_values_that_are_no_tokens_are_refused(tmp_path, values, message):
    np.save(tmp_path / "a.npy", values)
    assert message in refused("a.npy", tmp_path)


@pytest.mark.parametrize("suffix", ["npy", "npz", "mat", "h5", "safetensors", "csv"])
@pytest.mark.parametrize("content", ["empty", "garbage", "truncated"])
def test_broken_files_are_unusable_not_a_crash(tmp_path, suffix, content):
    path = tmp_path / f"a.{suffix}"
    if suffix in ("mat", "h5"):
        pytest.importorskip("scipy" if suffix == "mat" else "h5py")
    if content == "empty":
        path.write_bytes(b"")
    elif content == "garbage":
        path.write_bytes(np.random.default_rng(0).bytes(3000))
    else:
        np.save(tmp_path / "whole.npy", np.ones((50, 3)))
        whole = (tmp_path / "whole.npy").read_bytes()
        if suffix == "npz":
            np.savez(path, x=np.ones((50, 3)))
            whole = path.read_bytes()
        elif suffix == "safetensors":
            save_file({"x": torch.ones(50, 3)}, path)
            whole = path.read_bytes()
        elif suffix == "mat":
            pytest.importorskip("scipy").io.savemat(path, {"x": np.ones((50, 3))})
            whole = path.read_bytes()
        elif suffix == "h5":
            with pytest.importorskip("h5py").File(path, "w") as file:
                file["x"] = np.ones((50, 3))
            whole = path.read_bytes()
        elif suffix == "csv":
            whole = b"1,2,3\n4,5,6\n7,"
            whole += b" " * len(whole)
        path.write_bytes(whole[: len(whole) // 2])
    message = refused(path.name, tmp_path)
    assert ("0 bytes" in message) == (content == "empty")


@pytest.mark.parametrize("name", ["a.pkl", "a.pt", "a.pickle"])
def test_a_pickle_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(VALUES))
    assert "save the array as .npy" in refused(name, tmp_path)


def test_a_broken_npy_header_is_unusable(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), \n"  # the brace never closes
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(48))
    refused("a.npy", tmp_path)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_a_pickle_inside_npy_is_never_executed(tmp_path):
    np.save(tmp_path / "a.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    assert "Python objects" in refused("a.npy", tmp_path)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Bomb()))
    refused("b.npy", tmp_path)
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Bomb()))
    refused("b.npz", tmp_path)


def test_references_that_lead_nowhere_say_so(tmp_path):
    np.savez(tmp_path / "a.npz", clip1=VALUES, clip2=VALUES)
    np.save(tmp_path / "a.npy", VALUES)
    (tmp_path / "d.npy").mkdir()
    assert "file not found" in refused("b.npy", tmp_path)
    assert "is a folder" in refused("d.npy", tmp_path)
    (tmp_path / "films").mkdir()
    assert "is a folder" in refused("films", tmp_path)
    assert "unknown key 'clp1'; did you mean 'clip1'" in refused("a.npz#clp1", tmp_path)
    assert "holds 2 arrays (clip1, clip2); name one" in refused("a.npz", tmp_path)
    assert "leave out '#x'" in refused("a.npy#x", tmp_path)
    assert "sparsefuse extract" in refused("a.mp4", tmp_path)
    assert "unknown file type '.safetensor'; did you mean '.safetensors'" in refused("a.safetensor", tmp_path)


def test_many_keys_are_not_all_listed(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"clip{i:04d}": VALUES for i in range(100)})
    message = refused("a.npz#clip004", tmp_path)
    assert "(100 in the file)" in message
    assert len(message) < 300


def test_csv_cells_that_are_no_numbers_are_named_by_place_alone(tmp_path):
    """Their text may be of a file that is no table at all."""
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,oops\n")
    assert "could not convert string ... to float64 at row 1, column 2" in refused("a.csv", tmp_path)
    (tmp_path / "b.csv").write_text("x,y\n")
    assert "only a header" in refused("b.csv", tmp_path)


def test_a_table_of_readings_is_pointed_to_its_extractor(tmp_path):
    (tmp_path / "watch.csv").write_text("t;x\n0,02;1,5\n0,04;1,6\n")
    with pytest.raises(Unusable, match=r"watch\.csv: .*readings of a device become features by the extractor `series`"):
        read_array("watch.csv", tmp_path)
