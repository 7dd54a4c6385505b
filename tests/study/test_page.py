"""The page and the tables of a made study."""

import json
import re
import shutil
from xml.etree import ElementTree

import made
import pytest
from test_claims import accuracy

from sparsefuse.study.page import write_page
from sparsefuse.study.results import Results
from sparsefuse.study.tables import calibration, factors, reduction, robustness


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made.write(tmp_path_factory.mktemp("made") / "study", accuracy)


@pytest.mark.slow
def test_the_page_holds_every_table_and_claim(study):
    page = write_page(study).read_text()
    text = (study / "study.md").read_text()
    titles = ("Claims", "Accuracy", "Cost", "Reduction by 64", "Pooling", "Mixup", "Reduction factor", "Robustness")
    for title in (*titles, "Calibration"):
        assert f"## {title}" in text
    for letter in "abcdef":
        assert f"<h3>({letter})" in page
    assert "67.71 ± 1.3" in page  # the paper's
    assert page.count("<svg") >= 8
    assert not re.search(r'(src|href)="http', page)
    figure = (study / "f2.svg").read_text()
    assert "var(" not in figure
    assert all(name in figure for name in ("sft-po", "unimodal (depth)"))  # it has a legend
    assert ElementTree.fromstring(figure).tag == "{http://www.w3.org/2000/svg}svg"
    assert (study / "t1.csv").read_text().startswith("Method,n,Top-1 %,mAP %")


@pytest.mark.slow
def test_the_page_says_whose_checkpoints_chance_chose(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / "study")
    path = next((copy / "runs").glob("concat-seed0")) / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"warnings": ["one group alone validates"]}))
    page = write_page(copy).read_text()
    assert "concat: one group alone validates (1 of 3 runs)." in page
    assert "Warning: concat: one group alone validates (1 of 3 runs)." in (copy / "study.md").read_text()


def test_tables_hold_the_given_numbers(study):
    results = Results(study)
    assert reduction(results).lines[0][:4] == ["concat", "80.0 ± 0.0", "70.0 ± 0.0", "-10.0"]
    assert factors(results).lines[1] == ["sft-po", "80.0 ± 0.0", "75.0 ± 0.0", "65.0 ± 0.0"]
    # all confidence is .7: ECE of sft is .1, of an accuracy of .75 it is .05
    assert {line[0]: line[1] for line in calibration(results).lines}["sft"] == "10.0 ± 0.0"
    # heights 1, 7/8, 1/2 at 0, 1, 4: area (15/16 + 33/16) / 4 = .75; missing: 7/8
    found = robustness(results)
    assert found.head == ["Method", "not degraded", "depth: noise", "depth: missing", "sound: noise", "sound: missing"]
    assert found.lines[0] == ["sft", "80.0 ± 0.0", "60.0", "70.0", "60.0", "70.0"]


@pytest.mark.slow
def test_a_study_that_is_not_finished_says_what_is_missing(study, tmp_path):
    shutil.copytree(study, tmp_path / "half")
    for run in (tmp_path / "half/runs").glob("concat*"):
        (run / "result.json").unlink()
    page = write_page(tmp_path / "half").read_text()
    assert "2 variants have no finished run yet: concat, concat, factor 64" in page
    assert "<h3>(b)" not in page


def test_what_stands_side_by_side_has_the_same_seeds(study, tmp_path):
    """Seed 2 of concat is a disaster, and its reduced twin is not finished: neither counts."""
    shutil.copytree(study, tmp_path / "odd")
    shutil.rmtree(tmp_path / "odd/runs/concat_factor_64-seed2")
    made.write_run(tmp_path / "odd/runs", "concat", 2, 0.1)
    results = Results(tmp_path / "odd")
    assert reduction(results).lines[0][:4] == ["concat", "80.0 ± 0.0", "70.0 ± 0.0", "-10.0"]
    assert results.rows["concat"].n == 3


def test_another_folder_is_no_study(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not a study: it has no study\.json"):
        write_page(tmp_path)
