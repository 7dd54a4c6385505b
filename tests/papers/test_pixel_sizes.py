"""Networks on pixels are as large and as costly as TokenFusion's released ones."""

import importlib.util
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "results"
spec = importlib.util.spec_from_file_location("pixel_sizes", RESULTS / "pixel_sizes.py")
pixel_sizes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pixel_sizes)

ROWS = [pixel_sizes.ROWS[0], *(pytest.param(row, marks=pytest.mark.slow) for row in pixel_sizes.ROWS[1:])]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.network}-{row.size}")
def test_parameters_are_equal_and_multiply_adds_within_a_thousandth(row):
    parameters, gmacs = pixel_sizes.counted(row)
    assert parameters == row.parameters
    assert gmacs == pytest.approx(row.gmacs, rel=1.01e-3)  # 35.3 G is given to three digits


@pytest.mark.slow
def test_the_table_is_what_its_command_writes(tmp_path):
    pixel_sizes.main(tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text() == (RESULTS / "pixel_sizes.md").read_text()
