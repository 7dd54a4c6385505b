"""The demo: SFT is what it is shown for. tests/docs/test_walk.py sees what every stage leaves."""

import inspect

import pytest

from sparsefuse.cli import demo, verbs
from sparsefuse.cli.demo import run
from sparsefuse.cost import count
from sparsefuse.files.whole import read_json
from sparsefuse.methods import build


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
def test_the_demo_as_shipped_needs_both_modalities_and_a_sixth_of_concat(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "METHODS", ("unimodal", "sft"))  # training concat and late takes two thirds of the time
    shipped = {name: p.default for name, p in inspect.signature(verbs.demo).parameters.items()}
    shipped = {name: shipped[name] for name in inspect.signature(run).parameters}
    run(**shipped | {"out": tmp_path})
    runs = {path.name.removesuffix("-seed0"): path for path in (tmp_path / "runs").iterdir() if path.is_dir()}
    results = {name: read_json(path / "result.json") for name, path in runs.items()}
    assert results.keys() == {"sft", "unimodal-picture", "unimodal-sound"}
    top1 = {name: result["test"]["top1"] for name, result in results.items()}
    assert top1["sft"] >= 0.9
    assert max(top1["unimodal-picture"], top1["unimodal-sound"]) <= 0.6
    facts = read_json(runs["sft"] / "model.json")
    concat = build("concat", facts["features"], len(facts["labels"]["classes"]), lengths=facts["lengths"])
    assert count.total(concat, facts["typical"]) / 1e9 >= 6 * results["sft"]["cost"]["gmacs"]
