"""Comparisons of detectors: their own methods, options and fewer pictures, in one table."""

from pathlib import Path

import pytest

import tiny_points
from sparsefuse.experiments.grid import ablate, compare
from sparsefuse.experiments.variants import methods_of, values_of
from sparsefuse.methods import points
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.point_facts import PointFacts


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_points.write_clouds(tmp_path_factory.mktemp("clouds"), (4, 2, 2))


def test_methods_are_those_of_detection(manifest: Path) -> None:
    config = tiny_points.config(manifest)
    assert [variant.name for variant in methods_of(config, points.methods(), Path())] == points.methods()
    with pytest.raises(ValueError, match="unknown method of detection 'sft'"):
        methods_of(config, ["sft"], Path())
    with pytest.raises(ValueError, match=r"ablate --option points\.frames --values 0,1,2"):
        methods_of(config, ["late"], Path(), ["each"])


@pytest.mark.slow
def test_options_and_fields_of_points_are_varied(manifest: Path) -> None:
    config = tiny_points.config(manifest)
    none, one = values_of(config, "points.frames", [0, 1])
    assert none.of(config, 0).points.frames == 0
    assert one.of(config, 3).points.num_points == 64
    (wide,) = values_of(config, "features", [8])
    assert wide.of(config, 0).options["painted"]["features"] == 8
    with pytest.raises(ValueError, match=r"points\.frames cannot be 'two'"):
        values_of(config, "points.frames", ["two"])


@pytest.mark.slow
def test_methods_and_numbers_of_pictures_are_in_tables(manifest: Path, tmp_path: Path) -> None:
    config = tiny_points.config(manifest, train={"epochs": 1, "batch_size": 4})
    table = compare(config, out=tmp_path / "compare", methods=["points", "painted"], seeds=[0], jobs=1)
    assert not table.failed
    assert sorted(line[0] for line in table.lines) == ["painted", "points"]
    assert any("mAP@.25" in name for name in table.head)
    table = ablate(config, "points.frames", [0, 1, 2], out=tmp_path / "frames", seeds=[0], jobs=1)
    assert not table.failed
    assert len(table.lines) == 3
    read = {facts.frames: facts.pictures for path in sorted((tmp_path / "frames").rglob("model.json"))
            if (facts := RunFolder(path.parent).read(PointFacts))}  # fmt: skip
    assert read == {0: 0, 1: 1, 2: 2}
