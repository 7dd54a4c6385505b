"""`check` of tasks on pixels: a finding for everything that training would lose, or learn wrongly."""

import html
import re
from pathlib import Path

import numpy as np
import pytest

from data.pixels.scene_files import config, write_scenes
from pngs import write_png
from sparsefuse.checks import check
from sparsefuse.data.check.rules import RULES
from sparsefuse.report.check_page import write_page


def found(report):
    return {problem.kind: problem.message for problem in reversed(report.problems)}


def test_a_set_that_keeps_the_rules_has_no_findings(tmp_path):
    report = check(config(tmp_path, write_scenes(tmp_path)))
    assert report.problems == []
    assert report.balance == {"train": {"0": 6, "1": 6, "2": 6}, "valid": {"0": 2, "1": 2, "2": 2},
                              "test": {"0": 2, "1": 2, "2": 2}}  # fmt: skip
    assert report.columns == {
        "id": "id", "split": "split", "rgb": "pictures (color)", "depth": "pictures (depth, in steps of 0.001 m)",
        "label": "label pictures",
    }  # fmt: skip
    assert {name: (size.samples, size.tokens.median, size.features) for name, size in report.modalities.items()} == {
        "depth": (10, 48, 2), "rgb": (10, 48, 3),
    }  # fmt: skip


def test_every_fault_has_its_rule(tmp_path):
    rows = write_scenes(tmp_path, 20)
    (tmp_path / rows[0]["rgb"]).unlink()
    write_png(tmp_path / rows[1]["depth"], np.ones((9, 4), np.uint16))
    write_png(tmp_path / rows[2]["depth"], np.full((6, 8), 9, np.uint8))
    write_png(tmp_path / rows[3]["label"], np.zeros((6, 8, 3), np.uint8))
    write_png(tmp_path / rows[4]["label"], np.full((6, 8), 255, np.uint8))
    write_png(tmp_path / rows[6]["label"], np.full((6, 8), 7, np.uint8))
    write_png(tmp_path / rows[5]["depth"], np.zeros((6, 8), np.uint16))
    write_png(tmp_path / rows[10]["depth"], np.full((6, 8), 1200, np.uint16))
    rows[7]["rgb"] = ""
    rows[9]["rgb"] = rows[11]["rgb"]
    report = check(config(tmp_path, rows, pixels={"classes": ["wall", "floor", "table", "Table"]}))
    kinds = found(report)
    assert set(kinds) == {
        "missing", "unreadable", "mismatch", "label", "leak-file", "flat", "gaps", "absent", "alike",
    }  # fmt: skip
    assert kinds["missing"].startswith("sample s00: rgb/00.png: missing")
    assert kinds["mismatch"].startswith("sample s01: depth is 9 x 4, but its label is 6 x 8")
    assert "8 bits per pixel" in kinds["unreadable"]
    labels = [problem.message for problem in report.problems if problem.kind == "label"]
    assert [message[:10] for message in labels] == ["sample s03", "sample s04", "sample s06"]
    flat = [problem.message for problem in report.problems if problem.kind == "flat"]
    assert flat == [
        "sample s05: depth/05.png: nothing was measured", "sample s10: depth/10.png: every pixel is 1.2",
    ]  # fmt: skip
    assert kinds["gaps"] == "rgb: 1 of 20 samples have none (s07)"
    assert kinds["leak-file"].startswith("rgb: 2 samples (s11, s09) have the same file rgb/11.png")
    absent = [problem.message for problem in report.problems if problem.kind == "absent"]
    assert absent[0] == "train has no sample of 1 of 4 classes: Table"


@pytest.mark.parametrize(("factor", "unit", "word"), [(1, 1.0, "millimetres"), (1e-3, 0.002, "metres")])
def test_a_unit_that_cannot_be_is_named(tmp_path, factor, unit, word):
    rows = write_scenes(tmp_path)
    random = np.random.default_rng(1)
    for row in rows:
        np.save(tmp_path / f"{row['id']}.npy", (random.uniform(500, 4000, (6, 8)) * factor).astype(np.float32))
        row["depth"] = f"{row['id']}.npy"
    report = check(config(tmp_path, rows, pixels={"streams": {"depth": {"unit": unit}}}))
    assert list(found(report)) == ["unit"]
    assert f"were {word} read as" in found(report)["unit"]


def test_findings_read_as_the_page_has_them(tmp_path):
    rows = write_scenes(tmp_path)
    write_png(tmp_path / rows[1]["depth"], np.ones((9, 4), np.uint16))
    write_png(tmp_path / rows[5]["depth"], np.zeros((6, 8), np.uint16))
    kinds = found(check(config(tmp_path, rows, pixels={"streams": {"depth": {"unit": 1.0}}})))
    page = (Path(__file__).parents[3] / "docs" / "data-format.md").read_text()
    for rule in ("mismatch", "flat", "unit"):
        (said,) = re.findall(rf"^\| {rule} \| \w+ \| [^|]* \| `([^`]*)` \|", page, re.MULTILINE)
        assert re.fullmatch(".+".join(map(re.escape, said.split("…"))), kinds[rule]), rule


def test_sizes_that_differ_from_row_to_row_are_a_note(tmp_path):
    rows = write_scenes(tmp_path)
    row = write_scenes(tmp_path / "small", 1, height=3, width=4)[0]
    rows[0] |= {name: f"small/{row[name]}" for name in ("rgb", "depth", "label")}
    kinds = found(check(config(tmp_path, rows)))
    assert kinds["sizes"] == "depth: 2 picture sizes: 6 x 8 (9), 3 x 4 (1)"
    assert list(kinds) == ["sizes"]


def test_a_stream_that_no_sample_can_use_is_an_error(tmp_path):
    rows = write_scenes(tmp_path)
    for i, row in enumerate(rows):
        write_png(tmp_path / row["depth"], np.full((3, 4), i + 1, np.uint16) + np.arange(4, dtype=np.uint16))
    kinds = found(check(config(tmp_path, rows)))
    assert kinds["unusable"].startswith("no training sample has a usable 'depth'")


def test_a_manifest_that_is_none_is_one_problem(tmp_path):
    rows = [{"id": "a", "label": "a.png", "words": "some text"}]
    report = check(config(tmp_path, rows))
    assert [problem.kind for problem in report.problems] == ["manifest"]
    assert "no column holds pictures" in report.problems[0].message


def test_the_page_shows_pictures(tmp_path):
    rows = write_scenes(tmp_path)
    write_png(tmp_path / rows[1]["depth"], np.ones((9, 4), np.uint16))
    report = check(config(tmp_path, rows))
    text = write_page(report, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "depth is 9 x 4, but its label is 6 x 8" in text
    assert RULES["mismatch"].found(1) in html.unescape(text)
    assert re.search(r"Pixels, fewest.*Channels", text)
