"""Comparisons of methods on pictures: all of them without being named, every stream alone, and options."""

from pathlib import Path

import pytest

import tiny_pixels
from sparsefuse.experiments.grid import ablate, compare
from sparsefuse.experiments.variants import methods_of, values_of
from sparsefuse.methods import pixels


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixels.write_scenes(tmp_path_factory.mktemp("scenes"), (4, 2, 2))


def test_every_method_has_a_row_and_unimodal_one_for_each_stream(manifest: Path) -> None:
    config = tiny_pixels.config(manifest)
    variants = methods_of(config, pixels.methods(), Path())
    assert [variant.name for variant in variants] == [
        "concat", "early", "late", "mbt", "sft", "tokenfusion", "unimodal (depth)", "unimodal (rgb)",
    ]  # fmt: skip
    assert variants[-1].of(config, 3).options["unimodal"] == {"stream": "rgb"}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "main"), [("segment", "mIoU"), ("translate", "MAE")])
def test_a_comparison_without_methods_is_of_all(manifest: Path, tmp_path: Path, task: str, main: str) -> None:
    config = tiny_pixels.config(manifest, task=task, train={"epochs": 1, "batch_size": 4})
    table = compare(config, seeds=[0], out=tmp_path, jobs=1)
    assert not table.failed
    assert len(table.lines) == 8
    assert table.main is not None
    assert table.head[table.main].startswith(main)
    values = [float(line[table.main]) for line in table.lines]
    assert values == sorted(values, reverse=task == "segment")
    assert len((tmp_path / "compare.csv").read_text().splitlines()) == 9


@pytest.mark.slow
def test_streams_are_varied_by_the_methods_option(manifest: Path, tmp_path: Path) -> None:
    """Runs whose data.modalities differ were trained before the table refused to hold them."""
    with pytest.raises(ValueError, match=r"vary `modalities`, an option of every method on pixels"):
        ablate(tiny_pixels.config(manifest), "data.modalities", [["rgb"], ["depth"]], seeds=[0], out=tmp_path)
    assert not any(tmp_path.glob("*/config.json"))


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_options_of_method_data_and_pixels_are_varied(manifest: Path, tmp_path: Path) -> None:
    config = tiny_pixels.config(manifest, "late", train={"epochs": 1, "batch_size": 4})
    (off, on) = values_of(config, "pixels.flip", [0.0, 0.5])
    assert off.of(config, 0).pixels.flip == 0
    assert on.of(config, 0).pixels.flip == 0.5
    table = ablate(config, "shared", ["none", "all"], seeds=[0], out=tmp_path, jobs=1)
    assert sorted(line[0] for line in table.lines) == ["late, shared=all", "late, shared=none"]


def test_subsets_of_streams_are_those_of_the_data(manifest: Path) -> None:
    config = tiny_pixels.config(manifest)
    variants = methods_of(config, ["late"], Path(), ["each"])
    assert [variant.of(config, 0).options["late"].get("modalities") for variant in variants] == [
        None,
        ["depth"],
        ["rgb"],
    ]
