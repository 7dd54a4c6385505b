"""Files that declare far more than they hold are refused before that is allocated."""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib

import h5py
import numpy as np
import pytest
import scipy.io

from sparsefuse.data import formats
from sparsefuse.data.archives import unpack
from sparsefuse.data.arrays import load, read_array
from sparsefuse.data.pickles import read_pickle
from sparsefuse.files.skipped import Unusable

MEGABYTE = 2**20


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A limit of 1 MB, so that files of the tests are small."""
    monkeypatch.setenv("SPARSEFUSE_BEYOND_GB", "0.001")


def packed(size: int) -> bytes:
    """Zeros, compressed."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(size // MEGABYTE)) + packer.flush()


def h5(**how):
    def write(path):
        with h5py.File(path, "w") as file:
            file.create_dataset("x", (2000, 1000), "f4", **how)

    return write


def h5_chunk(path):
    """A chunk that unpacks to more than its size."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", (10, 10), "f4", chunks=(10, 10), compression="gzip")
        data.id.write_direct_chunk((0, 0), packed(8 * MEGABYTE))


def h5_text(path):
    """Every value is the same long text."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.full(10, "a" * 1000, object), dtype=h5py.string_dtype())


def npy(path):
    np.save(path, np.zeros((2, 2), "f4"))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(2, 2), }", b"(2000, 1000), }")[: len(content)])


def npy_head(path):
    head = b"{" + b" " * 2 * MEGABYTE
    path.write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", len(head)) + head)


def npz(path, values=None):
    np.savez_compressed(path, x=np.zeros((2000, 1000), "f4") if values is None else values)


def npz_bzip2(path):
    content = io.BytesIO()
    np.save(content, np.zeros((10, 10), "f4"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", content.getvalue())


def mat(path, dtype="f8"):
    scipy.io.savemat(path, {"x": np.zeros((2000, 1000), dtype)}, do_compression=True)


FILES = {
    "fill.h5": h5(chunks=(1000, 1000), fillvalue=1.0),
    "late.h5": h5(),
    "gzip.h5": h5(compression="gzip", chunks=(10, 10)),
    "chunk.h5": h5_chunk,
    "text.h5": h5_text,
    "head.npy": npy,
    "long.npy": npy_head,
    "zeros.npz": npz,
    "bytes.npz": lambda path: npz(path, np.zeros(900_000, "u1")),
    "bzip2.npz": npz_bzip2,
    "zeros.mat": mat,
    "bytes.mat": lambda path: mat(path, "u1"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_declares_far_more_than_it_holds_is_refused(tmp_path, name):
    FILES[name](tmp_path / name)
    with pytest.raises(Unusable) as error:
        read_array(name, tmp_path)
    assert str(error.value).startswith(f"{name}: ")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("name", ["fill.h5", "gzip.h5", "zeros.npz", "zeros.mat"])
def test_the_option_allows_what_is_right(tmp_path, name, monkeypatch):
    FILES[name](tmp_path / name)
    with pytest.raises(Unusable, match=r"set SPARSEFUSE_BEYOND_GB above 0\.0"):
        load(name, tmp_path)
    monkeypatch.setenv("SPARSEFUSE_BEYOND_GB", "0.1")
    assert load(name, tmp_path).shape == (2000, 1000)


@pytest.mark.parametrize("text", ["many", "-1", "nan"])
def test_an_option_that_is_no_size_is_an_error(tmp_path, text, monkeypatch):
    npz(tmp_path / "a.npz", np.ones((2, 2)))
    monkeypatch.setenv("SPARSEFUSE_BEYOND_GB", text)
    with pytest.raises(ValueError, match=f"SPARSEFUSE_BEYOND_GB is {text}, expected gigabytes"):
        load("a.npz", tmp_path)


def test_a_row_of_a_large_compressed_array_is_read(tmp_path):
    """Only what is read counts: the array is 80 times the limit."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", (20_000, 1000), "f4", chunks=(100, 500), compression="gzip")
        data[17] = np.arange(1000)
    np.testing.assert_array_equal(load("a.h5#x/17", tmp_path), np.arange(1000, dtype="f4"))


def test_every_value_that_is_not_finite_takes_no_more_memory(tmp_path):
    """The first one is named without a list of all of them."""
    np.save(tmp_path / "a.npy", np.full((40, 50), np.nan, "f4"))
    with pytest.raises(Unusable, match="2000 of 2000 values are NaN or infinite, the first at row 0, column 0"):
        read_array("a.npy", tmp_path)


def pickled(steps: bytes) -> bytes:
    """A text of 1,000 characters in place 0 of the memo, and what is done with it."""
    return b"\x80\x02X" + struct.pack("<I", 1000) + b"a" * 1000 + b"q\x000" + steps + b"."


@pytest.mark.parametrize(
    "steps",
    [
        b"(" + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 3000 + b"l",
        b"(" + b"\x8f" * 20_000 + b"l",
        b"N" + b"\x94" * 20_000,
    ],
    ids=["copies", "sets", "memo"],
)
def test_a_pickle_that_multiplies_what_it_holds_is_refused(tmp_path, steps, monkeypatch):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickled(steps))
    with pytest.raises(ValueError, match="takes far more memory than its") as error:
        read_pickle(path)
    assert len(str(error.value)) < 300
    monkeypatch.setenv("SPARSEFUSE_BEYOND_GB", "0.1")
    read_pickle(path)


def test_images_that_unpack_to_far_more_are_refused(tmp_path):
    for name, axes in (("images-idx3", 3), ("labels-idx1", 1)):
        head = bytes([0, 0, 8, axes]) + struct.pack(f">{axes}I", *[2000, 1000, 2][:axes])
        with gzip.open(tmp_path / f"{name}-ubyte.gz", "wb") as file:
            file.write(head + bytes(4_000_000))
    (tmp_path / "fsdd_wav").mkdir()
    with pytest.raises(Unusable, match="set SPARSEFUSE_BEYOND_GB"):
        formats.prepare("av_digits", tmp_path, tmp_path / "out")


def test_a_table_of_clips_that_nobody_wrote_is_refused(tmp_path):
    for split in ("train", "test"):
        with h5py.File(tmp_path / f"vgg_{split}.h5", "w") as file:
            for name in ("rgb", "flow", "spect"):
                file.create_dataset(name, (50_000, 2, 2), "f4", chunks=(100, 2, 2))
            file.create_dataset("class_name", (50_000,), "S4", chunks=(100,), fillvalue=b"dog")
    with pytest.raises(ValueError, match="a table of 50,000 clips takes"):
        formats.prepare("sft_hdf5", tmp_path, tmp_path / "out")


def test_segments_that_nobody_wrote_are_refused(tmp_path):
    with h5py.File(tmp_path / "labels.csd", "w") as file:
        for name, axes in (("features", (50_000, 1)), ("intervals", (50_000, 2))):
            file.create_dataset(f"x/data/v1/{name}", axes, "f4", chunks=(100, 1), fillvalue=1)
    (tmp_path / "v1.mp4").touch()
    with pytest.raises(Unusable, match="a table of 50,000 segments takes"):
        formats.prepare("csd", tmp_path, tmp_path / "out")


def test_a_member_of_an_archive_is_unpacked_a_piece_at_a_time(tmp_path, monkeypatch):
    """zipfile unpacks as many bytes of bzip2 as it is asked for, and 45 of them can become 900,000."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x", bytes(MEGABYTE))
    sizes, read = [], zipfile.ZipExtFile.read
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda self, n: sizes.append(n) or read(self, n))
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert max(sizes) <= 4096


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_member_with_a_name_of_megabytes_is_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, 2 * MEGABYTE
        archive.addfile(info, io.BytesIO(bytes(2 * MEGABYTE)))
        archive.addfile(tarfile.TarInfo("y"))
    with pytest.raises(ValueError, match="a member with 2,097,152 bytes of comments"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")
