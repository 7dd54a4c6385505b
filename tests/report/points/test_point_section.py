"""The pictures of a report show which boxes runs find."""

import pytest
import torch

from point_runs import predictor_of, run_of, scenes_in
from sparsefuse.config import Config, Data
from sparsefuse.layers.points.nouns import Boxes
from sparsefuse.report.page import render
from sparsefuse.report.points.section import count_found, section
from sparsefuse.runs.folder import RunFolder


def boxes(*rows):
    """Of rows x, y, z, size, class, score."""
    values = torch.tensor(rows, dtype=torch.float32).view(1, -1, 6)
    size = values[..., 3:4].expand(-1, -1, 3)
    real = torch.ones(values.shape[:2], dtype=torch.bool)
    return Boxes(values[..., :3], size, torch.zeros(real.shape), values[..., 4].long(), values[..., 5], real)


def test_a_box_is_found_by_one_of_its_class_that_is_sure():
    known = boxes((0, 0, 0, 1, 0, 1), (3, 0, 0, 1, 1, 1), (6, 0, 0, 1, 1, 1), (9, 0, 0, 1, 1, 1))
    found = boxes(
        (0.1, 0, 0, 1, 0, 0.9),
        (3, 0, 0, 1, 0, 0.9),  # of another class
        (6, 0, 0, 1, 1, 0.2),  # not sure
        (9.7, 0, 0, 1, 1, 0.9),  # overlaps by .3 / 1.7
    )
    assert count_found(found, known) == (1, 4)


@pytest.mark.slow  # draws six pictures
def test_a_row_per_method_shows_what_it_finds(tmp_path):
    manifest = scenes_in(tmp_path / "data")
    runs = {}
    for name in ("tokenfusion", "points"):
        runs[name] = RunFolder(run_of(tmp_path / name, predictor_of(name)))
        runs[name].write(Config(data=Data(manifest=str(manifest), task="detect")))
    found = section(runs, 2)
    assert [id for id, _ in found.scenes] == ["b"]  # of the test split
    ((_, lines),) = found.scenes
    assert [line.title for line in lines] == ["given", "tokenfusion", "points"]
    assert [cell.title for line in lines for cell in line.cells] == ["from above", "picture"] * 3
    assert lines[0].cells[0].note == "2 boxes"
    assert lines[1].cells[0].note.endswith("of 2 found")
    page = render("report/pixels/pictures.html.j2", pictures=found, split="test")
    assert page.count("<img") == 6


def test_nothing_is_shown_of_data_that_is_gone(tmp_path):
    assert section({"points": RunFolder(run_of(tmp_path, predictor_of("points")))}) is None
