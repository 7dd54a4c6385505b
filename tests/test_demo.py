"""The demo, small: every stage leaves what it says."""

import pytest

from sparsefuse import demo
from sparsefuse.demo import run
from sparsefuse.files import read_json


@pytest.mark.parametrize("other", [{"clips": 46}, {"seed": 1}])
def test_a_folder_of_another_demo_is_refused(tmp_path, monkeypatch, other):
    rendered = []

    def render(out, **settings):
        rendered.append(settings)
        (out / "manifest.csv").write_text("")

    def extract(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "render", render)
    monkeypatch.setattr(demo, "extract", extract)
    settings = {"clips": 45, "epochs": 1, "seed": 0}
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, **settings)
    with pytest.raises(ValueError, match=r"holds a demo with clips 45, seed 0, .* not clips \d+, seed \d, .* --out"):
        run(tmp_path, **settings | other)
    assert len(rendered) == 1, "the second time the clips are there"


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
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
