"""TokenFusion's detector has as many parameters in each part as the released one."""

import importlib.util
from pathlib import Path

import pytest
import torch

from sparsefuse.methods.points import build

RESULTS = Path(__file__).parents[2] / "results"
spec = importlib.util.spec_from_file_location("detection_sizes", RESULTS / "detection_sizes.py")
detection_sizes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(detection_sizes)


def test_every_part_is_as_large_as_the_released_one():
    with torch.device("meta"):
        model = build("tokenfusion", 0, detection_sizes.CLASSES)
    own = detection_sizes.ours(model)
    assert own == detection_sizes.published()
    assert sum(own.values()) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.slow
def test_the_table_of_detectors_is_what_its_command_writes(tmp_path):
    detection_sizes.main(tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text() == (RESULTS / "detection_sizes.md").read_text()
