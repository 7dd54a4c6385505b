"""Pickles: numpy and plain values come through, everything else is refused and nothing of it runs."""

import builtins
import collections
import io
import os
import pickle
import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsefuse.data import pickles, stand_ins
from sparsefuse.data.pickles import read_pickle

SHARED = Path(__file__).parents[3] / "shared" / "data"

PLAIN = {
    "numbers": [0, -1, 255, 70000, 2**31, -(2**70), 1.5, float("inf"), True, False, None, 1 + 2j],
    "text": ["", "abc", "é\n'\\", "x" * 300],
    "bytes": [b"", b"\x00\xff", b"q" * 300, bytearray(b"12")],
    "nested": {"a": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {"b": {"c": []}}]},
    "sets": [{1, 2}, frozenset({"a"}), set()],
    "ordered": collections.OrderedDict([("z", 1), ("a", 2)]),
}
ARRAYS = {
    "float64": np.arange(12.0).reshape(3, 4),
    "fortran": np.arange(12.0).reshape(3, 4).T,
    "large": np.arange(50000, dtype=np.float32).reshape(2, 250, 100),
    "big-endian": np.arange(3, dtype=">i2"),
    "half": np.array([1.5, -2], np.float16),
    "bool": np.array([True, False]),
    "text": np.array(["x", "yé"]),
    "bytes": np.array([[b"q", b"ww"]]),
    "objects": np.array([["a", 1], [None, [1, 2]]], dtype=object),
    "fortran objects": np.array([["a", 1], [None, 2.5]], dtype=object).T,
    "none": np.zeros((0, 3)),
    "scalar array": np.array(7),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pkl"


def written(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_and_arrays_come_through_every_protocol(path, protocol):
    found = read_pickle(written(path, pickle.dumps({"plain": PLAIN, "arrays": ARRAYS}, protocol)))
    assert found["plain"] == PLAIN
    for name, expected in ARRAYS.items():
        assert found["arrays"][name].dtype == expected.dtype, name
        np.testing.assert_array_equal(found["arrays"][name], expected, err_msg=name)


def test_numpy_scalars_dtypes_and_shared_values_come_through(path):
    array = np.arange(4)
    values = {"x": np.float32(3.5), "y": np.str_("é"), "t": np.dtype(">f4"), "one": array, "two": array, 3: [array]}
    found = read_pickle(written(path, pickle.dumps(values)))
    assert (found["x"], found["y"], found["t"]) == (np.float32(3.5), "é", np.dtype(">f4"))
    assert found["one"] is found["two"] is found[3][0]


def test_the_names_of_numpy_1_and_2_mean_the_same(path):
    content = pickle.dumps({"a": np.arange(3.0), "b": np.float32(2)}, 2)
    one, two = (content.replace(b"cnumpy._core.", name) for name in (b"cnumpy.core.", b"cnumpy._core."))
    assert one != two
    for each in (one, two):
        found = read_pickle(written(path, each))
        assert found["a"].tolist() == [0, 1, 2]
        assert found["b"] == 2


@pytest.mark.parametrize("size", [3, 20000], ids=["small", "large"])
@pytest.mark.parametrize("binary", [False, True], ids=["protocol 0", "protocol 2"])
def test_a_pickle_of_python_2_comes_as_text_and_arrays(path, size, binary):
    """As Python 2 wrote them: text and the values of arrays are byte strings."""
    values = np.linspace(-1, 1, size).astype("<f4")
    if binary:
        data = b"T" + struct.pack("<i", values.nbytes) + values.tobytes()
        array = (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01K" + b"%c\x85" % 3
            if size == 3
            else b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01M"
            + struct.pack("<H", size)
            + b"\x85"
        )
        array += b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        content = b"\x80\x02}(U\x02idU\x03v\xe91U\x01x" + array + data + b"tbu."
    else:
        text = "".join(f"\\x{byte:02x}" for byte in values.tobytes()).encode()
        array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I%d\nt" % size
        array += b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'"
        content = b"(dS'id'\nS'v\\xe91'\nsS'x'\n" + array + text + b"'\ntbs."
    assert pickle.loads(content, encoding="latin1")["id"] == "vé1"
    found = read_pickle(written(path, content))
    assert found["id"] == "vé1"
    np.testing.assert_array_equal(found["x"], values)


def test_large_arrays_are_views_of_the_file(path):
    big = np.arange(pickles.LARGE, dtype=np.float32)
    found = read_pickle(written(path, pickle.dumps([big, np.arange(3.0)], 4)))
    assert not found[0].flags.writeable
    base = found[0]
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base.base, memoryview)
    assert base.base.obj.__class__.__name__ == "mmap"


class Payload:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class State:
    """A class of the user's own: pickles by name."""

    def __setstate__(self, state):
        Path(state).touch()


def attacks(sentinel):
    touch = f"open({str(sentinel)!r}, 'w').close()"
    yield "os", "system", Payload(os.system, f"touch {sentinel}")
    yield "eval", "eval", Payload(builtins.eval, touch)
    yield "exec", "exec", Payload(builtins.exec, touch)
    yield "getattr", "getattr", Payload(builtins.getattr, "x", "upper")
    yield "subprocess", ".run'", Payload(subprocess.run, ["touch", str(sentinel)])
    yield "open", "open", Payload(io.open, str(sentinel), "w")
    yield "numpy.load", "numpy", Payload(np.load, str(sentinel), None, True)
    yield "numpy.save", "numpy", Payload(np.save, str(sentinel), 1)
    yield "tensor", "torch._utils._rebuild_tensor", torch.zeros(2)
    yield "device", "torch.device", torch.device("cpu")
    yield "own class", "test_pickles.State", State()
    yield "function", "read_pickle", read_pickle
    yield "defaultdict", "collections.defaultdict", collections.defaultdict(list, a=[1])
    yield "path", "pathlib", Path("x")


NAMES = [name for name, _, _ in attacks(Path("x"))]


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("wrap", ["bare", "nested", "in objects"])
@pytest.mark.parametrize("name", NAMES)
def test_what_would_run_is_refused_by_name_and_does_not(tmp_path, path, name, wrap, protocol):
    sentinel = tmp_path / "sentinel"
    asked, payload = next((asked, payload) for found, asked, payload in attacks(sentinel) if found == name)
    asked = "copy_reg._reconstructor" if (name, protocol) == ("own class", 0) else asked
    objects = np.empty(1, object)
    objects[0] = payload
    value = {"bare": payload, "nested": {"train": [("x", {"vision": [payload]})]}, "in objects": objects}[wrap]
    content = pickle.dumps(value, protocol)
    with pytest.raises(ValueError, match=r"refused, and nothing of it was run: it contains") as error:
        read_pickle(written(path, content))
    assert asked in str(error.value)
    assert str(path) in str(error.value)
    assert not sentinel.exists()


def test_the_attacks_would_work(tmp_path, path):
    """Else the test above proves nothing."""
    sentinel = tmp_path / "sentinel"
    pickle.loads(pickle.dumps(Payload(os.system, f"touch {sentinel}")))
    assert sentinel.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cos\nsystem\n(S'touch X'\ntR.", "'os.system'"),
        (b"(S'touch X'\nios\nsystem\n.", "'os.system'"),
        (b"(cos\nsystem\nS'touch X'\no.", "'os.system'"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "instruction NEWOBJ"),
        (b"\x80\x04cnumpy\nndarray\n)}\x92.", "instruction NEWOBJ_EX"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"\x80\x02\x84\x01\x00\x00\x00.", "instruction EXT4"),
        (b"Pname\n.", "instruction PERSID"),
        (b"I1\nQ.", "instruction BINPERSID"),
        (b"\x80\x05\x97.", "instruction NEXT_BUFFER"),
        (b"\x80\x05I1\n\x98.", "instruction READONLY_BUFFER"),
        (b"ccopyreg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.", "'copyreg._reconstructor'"),
        (b"ccopy_reg\nadd_extension\n(S'os'\nS'system'\nI1\ntR.", "'copy_reg.add_extension'"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(N}S'__code__'\nNstb.", "sets the state of a Call"),
        (b"ccollections\nOrderedDict\n)R}S'x'\nI1\nsb.", "sets the state of a dict"),
        (b"cnumpy\nndarray\n(I1000000000000\ntR.", "not a pickle"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nset\n(I0\ntS'b'\ntR.", "not a pickle"),
        (b"cnumpy\ndtype\n(S'O8,V4'\nI0\nI1\ntR.", "array of type 'O8,V4'"),
        (b"cnumpy\ndtype\n(S'M8'\nI0\nI1\ntR.", "array of type 'M8'"),
        (b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nN(S'a'\nt}I9\nI1\nI0\ntb.", "have fields"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_instructions_are_refused(tmp_path, path, content, message):
    content = content.replace(b"X", str(tmp_path / "sentinel").encode())
    with pytest.raises(ValueError) as error:
        read_pickle(written(path, content))
    assert message in str(error.value)
    assert not (tmp_path / "sentinel").exists()


def array_of(shape, values, kind=b"f4"):
    head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(" + shape + b"t"
    return head + b"cnumpy\ndtype\n(S'" + kind + b"'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n" + values + b"tb."


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"\x80\x04\x95",
        b"hello, world",
        b"(lp0\n",
        b".",
        b"0.",
        b"I1\nI2\n.",
        b"g5\n.",
        b"a.",
        b"I1\nI2\na.",
        b"I1\n)R.",
        b"B\xff\xff\xff\x7fabc.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"T\xff\xff\xff\xffabc.",
        b"T\xfb\xff\xff\xff.",  # would go back to itself
        b"}]I1\ns.",
        array_of(b"I4\n", b"S'abcd'\n"),
        array_of(b"I-1\n", b"S'abcd'\n"),
        array_of(b"I99999999999\nI99999999999\n", b"S'abcd'\n"),
        array_of(b"I2\n", b"(lI1\na", b"O8"),
        array_of(b"I1\n", b"S'abcdefgh'\n", b"O8"),
        array_of(b"I99999999999999\n", b"S''\n", b"U0"),
        pickle.dumps(np.arange(3.0), 2).replace(b"K\x03\x85", b"K\x04\x85"),
    ],
    ids=range(24),
)
def test_garbage_is_an_error_with_the_file(path, content):
    with pytest.raises(ValueError, match=r"file\.pkl: "):
        read_pickle(written(path, content))


def test_every_truncation_is_an_error(path):
    content = pickle.dumps({"a": np.arange(3.0), "b": ["x", (1, 2)]}, 4)
    for end in range(len(content)):
        with pytest.raises(ValueError, match=r"file\.pkl: "):
            read_pickle(written(path, content[:end]))


def test_a_key_whose_hash_takes_forever_is_refused(path):
    content = b"I1\n" + b"2\x86" * 100 + b"p1\n0}g1\nI1\ns."
    with pytest.raises(ValueError, match="a tuple as a key"):
        read_pickle(written(path, content))


def test_values_that_hold_themselves_do_not_hang(path):
    value = []
    value.append(value)
    found = read_pickle(written(path, pickle.dumps(value)))
    assert found[0] is found
    content = b"\x80\x02" + b"]" * 100000 + b"N" + b"a" * 100000 + b"."
    assert isinstance(read_pickle(written(path, content)), list)


@pytest.mark.parametrize(
    ("content", "kind"), [(b"PK\x03\x04..", "torch.save"), (b"\x1f\x8b\x08", "gzip"), (b"\x93NUMPY", r"\.npy file")]
)
def test_another_file_says_what_it_is(path, content, kind):
    with pytest.raises(ValueError, match=kind):
        read_pickle(written(path, content))


def test_a_pickle_that_is_not_there_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"file\.pkl not found"):
        read_pickle(path)


def test_too_little_memory_is_said(path, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(stand_ins, "_shaped", full)
    with pytest.raises(ValueError, match="needs more memory than there is"):
        read_pickle(written(path, pickle.dumps(np.arange(3))))


def test_python_s_pickle_is_not_used():
    for module in (pickles, stand_ins):
        text = Path(module.__file__).read_text()
        assert not re.search(r"^(import|from) _?pickle\b|Unpickler|\bload", text, re.MULTILINE)


def test_the_real_pandas_pickle_is_refused_by_name():
    if not (SHARED / "epic100").is_dir():
        pytest.skip(f"needs the real data set in {SHARED}")
    with pytest.raises(ValueError, match=r"'pandas\.core\.frame\.DataFrame'.*save the table as csv"):
        read_pickle(SHARED / "epic100" / "EPIC_100_validation.pkl")


def test_the_real_pickled_features_are_read():
    if not (SHARED / "vggsound_samples").is_dir():
        pytest.skip(f"needs the real data set in {SHARED}")
    found = {path: read_pickle(path) for path in sorted((SHARED / "vggsound_samples").glob("feature_*/*.pkl"))}
    assert {(values.shape, str(values.dtype)) for values in found.values()} == {
        ((216, 1024), "float32"),
        ((215, 2048), "float32"),
    }
    path = next(iter(found))
    with path.open("rb") as file:
        np.testing.assert_array_equal(found[path], pickle.load(file))
