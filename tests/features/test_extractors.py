"""Extractors are found by file name; a wrong name or option says what was meant."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jsonargparse import set_parsing_settings  # pyright: ignore[reportPrivateImportUsage]

from sparsefuse import features
from sparsefuse.features import build, extractor, extractors, resolve, source_of

OWN = """
import numpy as np
SOURCE = "audio"
def extract(path, *, scale: float = 2.0):
    return np.full((3, 1), scale, np.float32)
"""
OWN_CLASS = """
from dataclasses import dataclass
SOURCE = "audio"
@dataclass(frozen=True)
class Extractor:
    scale: float = 2.0
"""


def test_the_folder_lists_its_extractors_without_importing_them() -> None:
    assert extractors() == ["encoder", "flow", "frames", "series", "spectrogram", "text"]
    code = "import sys, sparsefuse.features as f; f.extractors(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_gives_the_function() -> None:
    assert type(build("frames", {})).__module__ == "sparsefuse.features.frames"
    assert (source_of("frames"), source_of("spectrogram")) == ("video", "audio")


def test_an_unknown_name_says_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown extractor 'spectogram'; did you mean 'spectrogram'"):
        extractor("spectogram")


def test_options_are_typed_and_completed() -> None:
    assert resolve("frames", {"size": [28, 40], "rate": 25}) == {
        "rate": 25.0, "size": (28, 40), "gray": True, "patch": None, "difference": False, "centre": False,
        "energy": False, "dtype": "float32",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"siez": [2, 2]}, "unknown option of extractor 'frames': 'siez'; did you mean 'size'"),
        (
            {"size": 64},
            r"'frames': size is 64, expected a list of 2 \(a whole number, a whole number\); write \[64, 64\]",
        ),
        ({"size": [8]}, r"size is \[8\], expected a list of 2 .*; the default is \[32, 32\]"),
        ({"gray": "perhaps"}, "extractor 'frames': gray is \"perhaps\", expected true or false; the default is true"),
        ({"rate": "fast"}, 'rate is "fast", expected a number or null; the default is null'),
        (
            {"dtype": "float23"},
            "unknown value of dtype 'float23'; did you mean 'float32'. available: float16, ",
        ),
        ({"path": "x"}, "unknown option of extractor 'frames': 'path'"),
    ],
)
def test_a_wrong_option_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve("frames", options)


def test_a_file_of_ones_own_is_an_extractor(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    name = str(tmp_path / "own.py")
    assert resolve(name, {}) == {"scale": 2.0}
    assert source_of(name) == "audio"
    assert extractor(name)("x.wav", scale=4).tolist() == [[4], [4], [4]]


def test_a_class_of_ones_own_is_one_from_the_command_line_too(tmp_path: Path) -> None:
    """Whose parser reads docstrings of fields in the source."""
    (tmp_path / "own.py").write_text(OWN_CLASS)
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    try:
        assert resolve(str(tmp_path / "own.py"), {"scale": 4}) == {"scale": 4.0}
    finally:
        set_parsing_settings(docstring_parse_attribute_docstrings=False)


def test_a_file_that_is_none_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("SOURCE = 'audio'")
    with pytest.raises(ValueError, match="does not define either `extract` or `class Extractor`"):
        extractor(str(tmp_path / "own.py"))
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        extractor(str(tmp_path / "gone.py"))


def test_features_depend_on_the_code_that_extractors_share(tmp_path: Path, monkeypatch) -> None:
    for file in Path(features.__file__).parent.glob("*.py"):
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(features, "__file__", str(tmp_path / "__init__.py"))
    features._code_hash.cache_clear()
    before = features.fingerprint("series", {})
    with (tmp_path / "_windows.py").open("a") as file:
        file.write("# changed\n")
    assert features.fingerprint("series", {}) == before  # read once
    features._code_hash.cache_clear()
    assert features.fingerprint("series", {}) != before
    features._code_hash.cache_clear()
