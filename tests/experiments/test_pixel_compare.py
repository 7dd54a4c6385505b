"""Comparisons of methods on pixels: their own methods, one row per stream alone, and no baseline of clips."""

import pytest
import torch

from sparsefuse.experiments.grid import compare
from sparsefuse.experiments.variants import methods_of, values_of
from sparsefuse.methods import pixels
from tiny_pixels import config, write_scenes


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"))


def test_unimodal_is_a_row_of_each_stream(manifest, tmp_path):
    variants = methods_of(config(manifest), ["early", "unimodal"], tmp_path)
    assert [(each.name, each.options) for each in variants] == [
        ("early", {}),
        ("unimodal (depth)", {"stream": "depth"}),
        ("unimodal (rgb)", {"stream": "rgb"}),
    ]


def test_methods_of_clips_are_unknown(manifest, tmp_path):
    with pytest.raises(ValueError, match="unknown method on pixels 'locomt'"):
        methods_of(config(manifest), ["locomt"], tmp_path)


def test_options_of_methods_on_pixels_are_varied(manifest):
    found = values_of(config(manifest, "sft"), "unimodal_depth", [0, 1])
    assert [each.options for each in found] == [{"unimodal_depth": 0}, {"unimodal_depth": 1}]
    with pytest.raises(ValueError, match="unknown option of sft 'keep'"):
        values_of(config(manifest, "sft"), "keep", [1])


def test_subsets_of_streams_are_rows_of_their_own(manifest, tmp_path):
    variants = methods_of(config(manifest), ["sft"], tmp_path, ["all", "each"])
    assert [(each.name, each.options) for each in variants[1:]] == [
        ("sft (depth)", {"modalities": ["depth"]}),
        ("sft (rgb)", {"modalities": ["rgb"]}),
    ]


def test_a_model_of_some_streams_takes_the_others_and_reads_them_not():
    model = pixels.build(
        "early", {"rgb": 3, "depth": 2, "edges": 1}, 2, size="tiny", modalities=["rgb", "depth"]
    ).eval()
    assert model.streams == {"rgb": 3, "depth": 2, "edges": 1}
    x = {"rgb": torch.rand(1, 16, 16, 3), "depth": torch.rand(1, 16, 16, 2)}
    logits = model(x).logits
    assert torch.equal(model(x | {"edges": torch.rand(1, 16, 16, 1)}).logits, logits)
    assert not torch.equal(model(x | {"rgb": torch.rand(1, 16, 16, 3)}).logits, logits)
    for wrong, message in (
        (["sound"], "modalities: unknown stream 'sound'"),
        ([], "modalities is .*; expected a list"),
    ):
        with pytest.raises(ValueError, match=message):
            pixels.build("early", {"rgb": 3}, 2, modalities=wrong)


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_a_comparison_puts_all_methods_on_pixels_into_one_table(manifest, tmp_path):
    settings = config(manifest, train={"epochs": 1})
    methods = ["sft", "late", "unimodal"]
    table = compare(settings, methods, seeds=[0], out=tmp_path, modalities=["all", "each"], jobs=1)
    assert not table.failed
    names = {line.split(" | ")[0].strip("| ") for line in (tmp_path / "compare.md").read_text().splitlines()}
    assert {"sft", "late", "unimodal (depth)", "unimodal (rgb)", "sft (rgb)", "late (depth)"} <= names
    assert "baseline" not in names
    assert "mIoU" in (tmp_path / "compare.md").read_text()
    assert (tmp_path / "report.html").is_file()
