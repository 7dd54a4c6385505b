"""The demo, small: every stage leaves what it says."""

import pytest

from sparsefuse.demo import run
from sparsefuse.files import read_json


@pytest.mark.slow
def test_the_demo_goes_from_clips_to_a_prediction(tmp_path, capsys):
    run(tmp_path, clips=45, epochs=1, seed=0)
    printed = capsys.readouterr().out
    assert "5. Predict" in printed
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    table = (tmp_path / "compare.md").read_text()
    for name in ("sft", "concat", "late", "unimodal (picture)", "unimodal (sound)"):
        assert f"| {name} |" in table
    gmacs = {m: read_json(tmp_path / "runs" / f"{m}-seed0" / "result.json")["cost"]["gmacs"] for m in ("sft", "concat")}
    assert gmacs["concat"] > 6 * gmacs["sft"]
