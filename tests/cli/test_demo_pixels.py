"""The demo of segmentation: rooms, runs, a table, a report and a prediction."""

import pytest

from command import call
from sparsefuse.cli import demo_pixels
from sparsefuse.files.whole import read_json


def test_a_folder_of_other_rooms_is_refused(tmp_path, monkeypatch):
    def grid(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_pixels, "grid", grid)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            demo_pixels.run(tmp_path, scenes=3, epochs=1, seed=0)
    with pytest.raises(ValueError, match=r"holds rooms of .* seed: 0.*, not .*seed: 1.*; give another folder"):
        demo_pixels.run(tmp_path, scenes=3, epochs=1, seed=1)


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_the_demo_goes_from_rooms_to_a_prediction(tmp_path, monkeypatch, capsys):
    flags = ["--task", "segment", "--scenes", 24, "--epochs", 1]
    assert call(monkeypatch, "demo", "--out", tmp_path, *flags) == 0
    printed = capsys.readouterr().out
    assert "4. Predict" in printed
    out = tmp_path / "segment"
    for name in ("sft", "early", "unimodal-depth", "unimodal-rgb"):
        result = read_json(out / "runs" / f"{name}-seed0" / "result.json")
        assert 0 < result["test"]["miou"] < 1
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    assert (out / "fresh" / "predicted.png").is_file()
