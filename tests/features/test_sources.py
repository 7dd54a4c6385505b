"""Columns that are no films as sources, an extractor of one's own, and what the docs say of all of them."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from sparsefuse.data.arrays import read_array
from sparsefuse.data.manifest import read_manifest
from sparsefuse.features import _module, extractor, extractors
from sparsefuse.features.extract import extract
from sparsefuse.media import write_clip

DOCS = Path(__file__).parents[2] / "docs" / "features.md"
IMU = {"extractor": "series", "source": "imu", "columns": ["ax"]}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("t,ax\n0,1\n1,2\n")
    (tmp_path / "a.txt").write_text("the rain")
    (tmp_path / "five.txt").write_text("the 1 0\nrain 2 3\n")
    (tmp_path / "m.csv").write_text("id,imu,said,label\na,a.csv,a.txt,x\n")
    return tmp_path / "m.csv"


def test_a_column_of_csv_is_a_source_when_the_configuration_says_so(manifest: Path, tmp_path: Path) -> None:
    words = {"extractor": "text", "source": "said", "table": str(tmp_path / "five.txt")}
    done = extract(manifest, tmp_path / "out", features={"imu": IMU, "words": words}, jobs=1, progress=False)
    made = read_manifest(done.manifest)
    assert made.modalities == ("imu", "words")
    np.testing.assert_array_equal(read_array(made.rows[0].files["imu"], made.root), [[1], [2]])
    np.testing.assert_array_equal(read_array(made.rows[0].files["words"], made.root), [[1, 0], [2, 3]])
    assert "said" not in done.manifest.read_text()


def test_a_column_of_csv_that_no_configuration_names_is_features(manifest: Path, tmp_path: Path) -> None:
    words = {"extractor": "text", "source": "said", "table": str(tmp_path / "five.txt")}
    done = extract(manifest, tmp_path / "out", features={"words": words}, jobs=1, progress=False)
    assert "imu" in done.manifest.read_text().splitlines()[0]
    manifest.write_text("id,series\na,a.csv\n")
    with pytest.raises(ValueError, match=r"column 'series' holds features already, .* say `source: series`"):
        extract(manifest, tmp_path / "out2", features={"imu": {"extractor": "series"}}, jobs=1, progress=False)


def test_arrays_are_never_a_source(manifest: Path, tmp_path: Path) -> None:
    manifest.write_text("id,imu\na,a.npy\n")
    with pytest.raises(ValueError, match=r"column 'imu' holds features already, nothing to extract from it$"):
        extract(manifest, tmp_path / "out", features={"imu": IMU}, jobs=1, progress=False)


def test_without_its_usual_column_an_extractor_asks_for_the_source(manifest: Path, tmp_path: Path) -> None:
    manifest.write_text("id,video\na,a.mp4\n")
    with pytest.raises(ValueError, match=r"unknown column 'series'.*; say in `source` which column to make it from"):
        extract(manifest, tmp_path / "out", features={"imu": {"extractor": "series"}}, jobs=1, progress=False)


def test_the_extractor_of_the_docs_works(tmp_path: Path) -> None:
    block = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    (tmp_path / "loudness.py").write_text(block[1])
    sound = np.concatenate([np.zeros(8000), np.full(8000, 0.1)]).astype(np.float32)
    pixels = np.zeros((20, 16, 16, 3), np.uint8)
    write_clip(tmp_path / "a.mp4", pixels, fps=10, sound=sound, sound_rate=8000)
    (tmp_path / "m.csv").write_text("id,video\na,a.mp4\n")
    features = {"loud": {"extractor": str(tmp_path / "loudness.py"), "hop": 0.5}}
    done = extract(tmp_path / "m.csv", tmp_path / "out", features=features, jobs=1, progress=False)
    assert done.skipped == []
    made = read_manifest(done.manifest, label=None)
    loud = read_array(made.rows[0].files["loud"], made.root)
    assert loud.shape == (4, 1)
    assert loud[0, 0] < -60
    assert loud[3, 0] > -40


@pytest.mark.parametrize("name", extractors())
def test_the_docs_name_every_option_and_the_usual_column(name: str) -> None:
    section = re.search(rf"^## {name}\n(.*?)(?=^## )", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert section, f"docs/features.md has no section {name}"
    module = _module(name)
    options = set(inspect.signature(module.Extractor).parameters)
    said = set(re.findall(r"`(\w+)(?:: [^`]+)?`", section[1]))
    assert not options - said
    assert module.SOURCE in said
    assert extractor(name)
