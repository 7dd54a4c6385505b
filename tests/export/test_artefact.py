"""`sparsefuse export`: the file, its card, what is refused, and a consumer without torch and this library."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny
from sparsefuse.cli.app import main
from sparsefuse.export import artefact
from sparsefuse.export.artefact import export
from sparsefuse.export.card import ExportCard, page
from sparsefuse.export.device import profile
from sparsefuse.files.typed import read
from sparsefuse.inference.predictor import load
from sparsefuse.training.train import train

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from chromium import binary, package

pytestmark = pytest.mark.slow  # the exporter takes ten seconds for the smallest model
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
ROOT = Path(__file__).parents[2]
CONSUMER = ROOT / "examples" / "onnx_consumer.py"
BENCHMARK = ROOT / "benchmarks" / "in_browser.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    config = tiny.config(tiny.write_set(folder / "data", (9, 12, 4)), "late", epochs=4, lr=0.01)
    return train(config, folder / "run", root=Path(), measured=False)


@pytest.fixture(scope="module")
def file(run: Path) -> Path:
    """The run as ONNX, by the command line."""
    argv, sys.argv = sys.argv, ["sparsefuse", "export", str(run)]
    try:
        main()
    finally:
        sys.argv = argv
    return run / "export" / "model.onnx"


@pytest.fixture
def once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports after the first take its graph."""
    monkeypatch.setattr(artefact, "write_onnx", lambda program, path: shutil.copy(file, path))


def card_of(file: Path) -> dict:
    return json.loads(file.with_suffix(".json").read_text())


def test_the_card_says_what_was_measured(run: Path, file: Path) -> None:
    card = card_of(file)
    assert card["parity"]["clips"] == card["parity"]["same_labels"] == 12
    assert card["parity"]["max_difference"] < 1e-5
    assert card["clips_from"] == "the run's valid split"
    assert card["real_clips"]
    assert not card["failures"]
    assert card["scores"]["valid"]["trained"] == json.loads((run / "result.json").read_text())["valid"]["top1"]
    assert card["labels"] == ["a", "b", "c"]
    assert card["temperature"] == load(run).temperature != 1
    assert card["bytes"] == file.stat().st_size
    assert card["latency"]["threads"] == 1
    text = file.with_suffix(".md").read_text()
    assert "12 of 12 labels are the same" in text
    assert "| sound | (batch, tokens, 4) float32 |" in text


@pytest.mark.parametrize("int8", [False, True])
def test_the_card_names_the_oldest_runtime_that_reads_the_file(
    run: Path, file: Path, tmp_path: Path, int8: bool
) -> None:
    """By its table of versions ONNX Runtime reads opset 18 and files of version 8 from 1.14 on."""
    import onnx

    if int8:
        file = export(run, out=tmp_path / "model.onnx", int8=True, force=True).file
    model = onnx.load(file)
    onnx.checker.check_model(model)
    assert model.ir_version == 8
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 18
    assert "Runs in ONNX Runtime 1.14 and later (opset 18)." in file.with_suffix(".md").read_text()
    assert card_of(file)["runtime"] == "1.14"


def test_the_card_has_no_time_that_cannot_be_trusted(file: Path) -> None:
    card = read(ExportCard, file.with_suffix(".json"))
    latency = replace(card.latency, clip={"rgb": 4}, median_ms=1.25, spread_ms=0.5, runs=50, load=0.25, doubt="")
    line = "One clip (rgb 4): 1.25 ms ± 0.50 (median of 50, half the 10-90 % range, 0.2 cores busy with other programs)"
    assert f"\n{line}, one thread, " in page(replace(card, latency=latency))
    busy = replace(latency, median_ms=None, spread_ms=None, doubt="other programs kept 1.6 of 2 cores busy")
    line = "One clip (rgb 4): - (other programs kept 1.6 of 2 cores busy; export it again on a quiet machine)"
    assert f"\n{line}, one thread, " in page(replace(card, latency=busy))


def test_the_card_says_who_makes_what_the_file_wants(file: Path) -> None:
    card = read(ExportCard, file.with_suffix(".json"))
    encoder = {"extractor": "encoder", "source": "video", "model": "efficientnet-lite0", "rate": 4.0}
    first = replace(card.inputs[0], name="rgb", width=1280, kind="features", extract=encoder)
    text = page(
        replace(card, inputs=[first, *card.inputs[1:]], features_gmacs={"rgb": 1.5}, bytes=250, fp32_bytes=1000)
    )
    line = "features of video by the extractor encoder efficientnet-lite0, not normalised"
    assert f"| rgb | (batch, tokens, 1280) float32 | {line} |" in text
    assert "\nNot in this file: the encoder that makes rgb, 1.5 GMACs a clip.\n" in text
    assert f"\n{card.method} for classification, as onnx, float32, 0 kB. " in text
    other = replace(card, inputs=[replace(first, extract=None)], task="heads")
    assert "features as they were in training, not normalised" in page(other)
    assert " for classification by several types of label, as onnx" in page(other)


def test_no_name_makes_anything_but_text_of_the_card(file: Path) -> None:
    evil, shown = "<img src=//x>|[a](http://x)\n# b", r"\<img src=//x\>\|[a\](http\://x) # b"
    card = read(ExportCard, file.with_suffix(".json"))
    inputs = [replace(one, name=evil) for one in card.inputs]
    latency = replace(card.latency, clip={evil: 1})
    more = {"labels": (evil, "x" * 10**5), "inputs": inputs, "latency": latency, "method": evil, "failures": [evil]}
    text = page(replace(card, file=evil, outputs=[evil], clips_from=evil, **more))
    assert text.count(shown) == 9
    assert len(text) < 5000
    assert "<img" not in text.replace("\\<img", "")
    assert [line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("| ")] == [4] * 6


def test_a_consumer_of_numpy_and_onnxruntime_says_what_predict_says(run: Path, file: Path) -> None:
    features = run.parent / "data" / "features"
    given = {name: features / f"test0-{name}.npy" for name in tiny.FEATURES}
    for clip in (given, {"sound": given["sound"]}):
        call = [sys.executable, str(CONSUMER), str(file), *(f"{name}={path}" for name, path in clip.items())]
        done = subprocess.run(call, capture_output=True, text=True, check=True, env=tiny.environment())
        found = {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()}
        assert found == pytest.approx(load(run).predict_one(clip).probabilities, abs=2e-4)
        assert list(found.values()) == sorted(found.values(), reverse=True)
    assert "import torch" not in CONSUMER.read_text()


@pytest.mark.usefixtures("once")
def test_int8_is_smaller_and_its_card_compares(run: Path, file: Path, tmp_path: Path) -> None:
    made = export(run, int8=True, test=True, out=tmp_path / "small.onnx")
    assert made.card.precision == "int8"
    assert made.card.fp32_bytes == file.stat().st_size
    assert made.card.int8.max_difference > made.card.parity.max_difference
    assert {split: score.clips for split, score in made.card.scores.items()} == {"valid": 12, "test": 4}
    assert "int8: logits differ" in (tmp_path / "small.md").read_text()


@pytest.mark.usefixtures("once")
def test_what_differs_by_more_than_the_tolerance_is_refused_unless_forced(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    with pytest.raises(ValueError, match=r"not written: logits differ by .* more than the tolerance 1e-12"):
        export(run, out=out, tolerance=1e-12)
    assert not list(tmp_path.iterdir())
    card = export(run, out=out, tolerance=1e-12, force=True).card
    assert "more than the tolerance 1e-12" in card.failures[0]
    assert "Refused, written with --force" in out.with_suffix(".md").read_text()


def test_another_models_graph_is_refused(run: Path, file: Path, tmp_path: Path, monkeypatch) -> None:
    """The check compares with the run's weights, not with what was exported."""
    monkeypatch.setattr(artefact, "write_onnx", lambda program, path: shutil.copy(file, path))
    other = shutil.copytree(run, tmp_path / "other")
    from safetensors.torch import load_file, save_file

    tensors = load_file(other / "model.safetensors")
    name = next(name for name in tensors if name.endswith("classify.weight"))
    save_file(tensors | {name: -tensors[name]}, other / "model.safetensors", {"facts": "{}"})
    with pytest.raises(ValueError, match="labels differ"):
        export(other)


@pytest.mark.usefixtures("once")
def test_without_the_data_made_clips_are_used_and_int8_is_not_judged(run: Path, tmp_path: Path, caplog) -> None:
    moved = shutil.copytree(run, tmp_path / "moved")
    config = json.loads((moved / "config.json").read_text())
    config["data"]["manifest"] = str(tmp_path / "gone.csv")
    (moved / "config.json").write_text(json.dumps(config))
    card = export(moved, out=tmp_path / "m.onnx").card
    assert (card.real_clips, card.clips_from, card.scores) == (False, "16 clips of noise", {})
    assert "the run's data was not found" in caplog.text
    with pytest.raises(ValueError, match="int8 cannot be judged without labelled clips; give --manifest"):
        export(moved, out=tmp_path / "q.onnx", int8=True)
    manifest = run.parent / "data" / "manifest.csv"
    card = export(moved, out=tmp_path / "q.onnx", int8=True, manifest=manifest).card
    assert {name: score.clips for name, score in card.scores.items()} == {
        "manifest": 4,
        "manifest (seen in training)": 9 + 12,
    }
    assert card.clips_from == "new clips of manifest.csv and clips of training"


def test_pt2_says_the_same_and_needs_no_library(run: Path, tmp_path: Path) -> None:
    made = export(run, format="pt2", out=tmp_path / "m.pt2")
    assert made.card.parity.same_labels == 12
    code = (
        "import sys, torch; p = torch.export.load(sys.argv[1]).module();"
        "print(p(torch.ones(1, 3, 5), torch.tensor([3]), torch.ones(1, 2, 4), torch.tensor([2]))[1].tolist());"
        "assert 'sparsefuse' not in sys.modules"
    )
    call = [sys.executable, "-c", code, str(made.file)]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=tiny.environment())
    clip = {"rgb": np.ones((3, 5)), "sound": np.ones((2, 4))}
    assert json.loads(done.stdout)[0] == pytest.approx(
        list(load(run).predict_one(clip).probabilities.values()), abs=1e-5
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"int8": True, "format": "pt2"}, "int8 is for ONNX"),
        ({"with_features": True}, "no modality of .* is made by the extractor spectrogram"),
        ({"out": Path("m.pt")}, r"--out must end in \.onnx"),
    ],
)
def test_what_cannot_be_is_an_error_at_once(run: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        export(run, **options)


@pytest.mark.usefixtures("once")
def test_a_device_profile_has_a_line_per_precision(run: Path, file: Path) -> None:
    lines = profile(run, memory_mb=0)
    assert [line.precision for line in lines] == ["float32", "bfloat16", "int8"]
    for line in lines:
        assert line.latency_ms is None or line.latency_ms > 0
        assert (line.latency_ms is None) == line.note.startswith("no time: "), "on a busy machine"
        assert (line.memory_mb or 0) > 0
    written = list(csv.DictReader((run / "export" / "device.csv").read_text().splitlines()))
    assert float(written[0]["size_kb"]) == pytest.approx(file.stat().st_size / 1e3)
    assert (run / "export" / "device.md").read_text().count("\n") == 5
    (line,) = profile(file, memory_mb=1)
    assert line.latency_ms is None
    assert line.note


def test_the_profile_of_something_else_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a run folder"):
        profile(tmp_path, memory_mb=0)


@pytest.mark.skipif(binary() is None, reason="no chromium")
@pytest.mark.skipif(package() is None, reason="no onnxruntime-web: see docs/deploy.md, or set ONNXRUNTIME_WEB")
def test_a_browser_says_what_python_says(run: Path, file: Path, tmp_path: Path) -> None:
    """The comparison of benchmarks/, of which `python benchmarks/in_browser.py RUN` is the full size."""
    call = [sys.executable, str(BENCHMARK), str(run), "--rounds", "1", "--out", str(tmp_path)]
    subprocess.run(call, check=True, env=tiny.environment(), capture_output=True)
    (written,) = tmp_path.glob("*.csv")
    found = {row["file"]: row for row in csv.DictReader(written.read_text().splitlines())}[file.name]
    assert float(found["difference"]) < 1e-5
    assert found["clips"] == found["same_labels"] == "12"
    assert found["pages"] == found["page_labels"] == "3"
    assert float(found["browser_ms"]) > 0
