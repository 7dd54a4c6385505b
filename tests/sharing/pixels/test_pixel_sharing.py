"""Runs on pictures are shared as those on clips are, and refused for as much."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import pixel_runs
import tiny_pixels
from sparsefuse.files import checkpoint
from sparsefuse.inference.load import load
from sparsefuse.runs import pixel_weights
from sparsefuse.sharing import pull, push
from sparsefuse.training.train import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    config = tiny_pixels.config(tiny_pixels.write_scenes(folder / "data"), "concat", train={"epochs": 1})
    return train(config, folder / "run", measured=False, shown=False)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """What `push` leaves of a run that has no results."""
    run = pixel_runs.run_of(tmp_path / "runs/run", pixel_runs.predictor_of())
    push(run, str(tmp_path / "shared"))
    return tmp_path / "shared"


def test_a_run_that_was_pushed_and_pulled_predicts_the_same(trained: Path, tmp_path: Path) -> None:
    push(trained, str(tmp_path / "shared"))
    got, scene = pull(str(tmp_path / "shared"), tmp_path / "got"), pixel_runs.scene(16, 20)
    assert (load(got).predict(scene).labels == load(trained).predict(scene).labels).all()
    assert {path.name for path in got.iterdir()} == {
        *("README.md", "model.safetensors", "model.json", "config.json", "env.json", "result.json", "metrics.jsonl"),
    }


def test_the_card_names_task_streams_classes_and_scores(trained: Path, tmp_path: Path) -> None:
    push(trained, str(tmp_path / "shared"), data="Drawn.")
    card = (tmp_path / "shared/README.md").read_text()
    for line in (
        "the streams depth, rgb, by the method concat of sparsefuse, which gives a class to every pixel.",
        "| depth | depth, whole numbers are millimetres, fractions metres |",
        "| rgb | color |",
        "2 classes: 0 0, 1 1.",
        "On 3 test scenes. The main metric is mIoU. One seed: no deviation.",
        "A scene of 16 x 16 pixels (rows x columns), in float32, on",
        "| | per scene |",
        "Drawn.\n\nScenes: train 6, valid 2, test 3.",
        "sparsefuse predict model depth=depth.png rgb=rgb.png --out predicted",
    ):
        assert line in card
    assert re.search(r"\| mIoU \| \d+\.\d\d % \|", card)
    assert "clip" not in card


def test_the_card_of_a_translation_says_what_it_makes(tmp_path: Path) -> None:
    depth = pixel_runs.STREAMS["depth"]
    run = pixel_runs.run_of(tmp_path / "runs/run", pixel_runs.predictor_of("translate", target=depth))
    push(run, str(tmp_path / "shared"))
    card = (tmp_path / "shared/README.md").read_text()
    assert (
        "## Picture\n\nA picture as large as those it is shown: depth, one step of a picture is 0.001 m, from 1 to 5 m"
        in card
    )
    assert "No scores: the run has none." in card
    assert "## Classes" not in card


def test_the_cards_python_runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    push(trained, str(tmp_path / "shared"))
    pull(str(tmp_path / "shared"), tmp_path / "model")
    for name in ("rgb", "depth"):
        shutil.copy(trained.parent / f"data/{name}/test0.png", tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", (tmp_path / "shared/README.md").read_text(), re.S)
    assert code
    exec(code[1], {})
    assert "'0'" in capsys.readouterr().out


def refused(shared: Path, tmp_path: Path, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pull(str(shared), tmp_path / "got")
    assert not (tmp_path / "got").exists()


HUGE = pixel_runs.SIZE["segment"]._replace(dims=(8, 60_000))
HOSTILE = {
    "code": ({"method": "./evil.py"}, "method is the code './evil.py'"),
    "of clips": ({"method": "mult"}, "unknown method 'mult'"),
    "large options": ({"options": {"size": HUGE._replace(dims=(8, 70_000))._asdict()}}, "is 70,000|is 70000"),
    "larger than its weights": ({"options": {"size": HUGE._asdict()}}, "has shape"),
    "deep": ({"options": {"size": HUGE._replace(depths=(60_000, 1))._asdict()}}, "a depth is 60000"),
    "a long name": ({"name": "x" * 600}, "has 600 characters"),
    "a class twice": ({"classes": ["wall", "wall", "floor"]}, "a name twice"),
    "a stream that is not read": ({"channels": {"rgb": 3}}, "channels is of"),
    "an unknown field": ({"code": "x"}, "code"),
    "large pictures": ({"size": [16_384, 16_384]}, "one scene would cost"),
}


@pytest.mark.parametrize(("change", "said"), HOSTILE.values(), ids=HOSTILE)
def test_what_model_json_may_not_say_is_refused(shared: Path, tmp_path: Path, change: dict, said: str) -> None:
    facts = json.loads((shared / "model.json").read_text())
    (shared / "model.json").write_text(json.dumps(facts | change))
    refused(shared, tmp_path, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mean/rgb": None}, "mean/rgb has shape none"),
        ({"std/rgb": torch.zeros(3)}, "std/rgb is 0; expected values above 0"),
        ({"mean/rgb": torch.full((3,), torch.nan)}, "NaN or infinite"),
        ({"model/extra": torch.zeros(2)}, r"extra has shape \(2,\), expected none"),
    ],
)
def test_weights_that_no_model_has_are_refused(shared: Path, tmp_path: Path, change: dict, said: str) -> None:
    found = checkpoint.load(shared / "model.safetensors")
    save_file({k: x for k, x in {**found.tensors, **change}.items() if x is not None}, shared / "model.safetensors")
    refused(shared, tmp_path, said)


def test_a_scene_that_would_cost_too_much_is_refused(shared: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pixel_weights, "MOST_GMACS", 1e-9)
    refused(shared, tmp_path, "one scene would cost .* GMACs")


def test_no_path_of_this_machine_is_sent(tmp_path: Path) -> None:
    predictor = pixel_runs.predictor_of()
    predictor.facts = replace(predictor.facts, name="/home/anna/kitchen")
    run = pixel_runs.run_of(tmp_path / "runs/run", predictor)
    with pytest.raises(ValueError, match=r"model\.json contains the path '/home/anna/kitchen'"):
        push(run, str(tmp_path / "shared"))
