"""Where a run is used is an option: what is not there is named, and what is there gives the same answers."""

import json
from pathlib import Path

import pytest
import torch

import tiny
from sparsefuse.cost.table import Measuring, ledger
from sparsefuse.data.arrays import read_array
from sparsefuse.explain.page import explain_clip
from sparsefuse.features.extract import extract
from sparsefuse.finetune import Settings, finetune
from sparsefuse.inference.evaluate import evaluate
from sparsefuse.inference.predictor import load
from sparsefuse.parallel.devices import device_of
from sparsefuse.runs.folder import RunFolder
from sparsefuse.serve.batcher import Batcher
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.numbers import Numbers
from sparsefuse.serve.reader import ClipFeatures
from sparsefuse.serve.service import Service
from sparsefuse.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    return train(tiny.config(tiny.write_set(folder / "data")), folder / "run", root=Path(), measured=False)


def test_a_device_that_is_not_there_is_named(run: Path) -> None:
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ValueError, match=f"device {absent} is not there: PyTorch finds .* give auto or cpu"):
        load(run, device=absent)
    with pytest.raises(ValueError, match="unknown device 'gpu'; expected auto, cpu, cuda"):
        evaluate(run, device="gpu")


@pytest.mark.parametrize("verb", ["explain", "finetune", "serve", "extract"])
def test_every_verb_refuses_a_device_that_is_not_there(run: Path, verb: str, tmp_path: Path) -> None:
    absent, manifest = f"cuda:{torch.cuda.device_count()}", run.parent / "data/manifest.csv"
    films = tmp_path / "films.csv"
    films.write_text("id,video,label\na,a.mp4,x\n")
    call = {
        "explain": lambda: explain_clip(run, None, manifest=manifest, id="train0", device=absent),
        "finetune": lambda: finetune(run, manifest, tmp_path / "new", device=absent),
        "serve": lambda: Service(run, ServeLimits(), tmp_path, device=absent),
        "extract": lambda: extract(films, tmp_path / "new", jobs=1, device=absent),
    }[verb]
    with pytest.raises(ValueError, match=f"device {absent} is not there"):
        call()
    assert not (tmp_path / "new").exists()


def test_auto_is_a_device_that_is_there(run: Path) -> None:
    assert device_of("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert evaluate(run, device="auto")["loss"] == pytest.approx(evaluate(run)["loss"], rel=1e-3)


@pytest.mark.gpu
def test_cost_measures_where_it_is_asked_to() -> None:
    (row,) = ledger(["sft"], {"a": 9}, {"a": 4}, 3, {}, measuring=Measuring("cuda"))
    assert row.measured is not None
    assert (row.measured.fastest_ms or 0) > 0


MODEL = """
from dataclasses import dataclass
import numpy as np
from sparsefuse.media import FileRequest
SOURCE = "video"
@dataclass(frozen=True)
class Extractor:
    device: str = "auto"
    def request(self):
        return FileRequest()
    def features(self, file):
        return np.full((2, 5), len(self.device), np.float32)
"""


def test_extract_places_encoders_and_does_not_record_where(tmp_path: Path) -> None:
    """The features may be used, or made again, on a machine without that device."""
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "a.mp4").write_bytes(b"film")
    (tmp_path / "films.csv").write_text("id,video,label\na,a.mp4,x\n")
    features = {"rgb": {"extractor": str(tmp_path / "model.py"), "device": "meta"}}
    out, options = tmp_path / "out", {"features": features, "jobs": 1, "progress": False}
    assert extract(tmp_path / "films.csv", out, **options, device="cpu").done == 1
    ref = (out / "manifest.csv").read_text().splitlines()[1].split(",")[1]
    assert read_array(ref, out)[0, 0] == len("cpu")
    assert json.loads((out / "features.json").read_text())["features"]["rgb"]["device"] == "meta"
    assert extract(tmp_path / "films.csv", out, **options, device="auto").reused == 1


def test_extract_says_when_nothing_runs_on_the_device(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mean.py").write_text(
        'import numpy as np\nSOURCE = "video"\ndef extract(path):\n    return np.ones((2, 5), np.float32)\n'
    )
    (tmp_path / "a.mp4").write_bytes(b"film")
    (tmp_path / "films.csv").write_text("id,video,label\na,a.mp4,x\n")
    features = {"rgb": {"extractor": str(tmp_path / "mean.py")}}
    extract(tmp_path / "films.csv", tmp_path / "out", features=features, jobs=1, progress=False, device="cpu")
    assert "no extractor runs a model on a device; cpu is not used" in caplog.text


def test_extractors_of_a_run_follow_its_device(run: Path, tmp_path: Path) -> None:
    """Whatever device their features were made on, which may not be here."""
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "a.mp4").write_bytes(b"film")
    predictor = load(run)
    predictor.extract = {"rgb": {"extractor": str(tmp_path / "model.py"), "source": "video", "device": "cuda:77"}}
    assert predictor.read("rgb", {"video": tmp_path / "a.mp4"})[0, 0] == len("cpu")


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_an_explanation_is_the_same_anywhere(run: Path, device: str) -> None:
    where = {"manifest": run.parent / "data/manifest.csv", "id": "train0"}
    here, there = explain_clip(run, None, **where), explain_clip(run, None, **where, device=device)
    mine, other = here.explanation, there.explanation
    assert other.shares == pytest.approx(mine.shares, rel=1e-3)
    assert other.occlusion.without == pytest.approx(mine.occlusion.without, rel=1e-3, abs=1e-4)
    assert {x.device.type for part in other.pooled.values() for x in part} == {"cpu"}
    assert {x.device.type for x in other.rollout.values()} == {"cpu"}


@pytest.mark.parametrize(
    ("weights", "device"),
    [("fusion", "cpu"), *(pytest.param(w, "cuda", marks=pytest.mark.gpu) for w in ("fusion", "lora", "all"))],
)
def test_a_run_adapted_anywhere_is_used_on_a_processor(run: Path, weights: str, device: str, tmp_path: Path) -> None:
    """With replay, held-out clips and a test, all of which go through the model."""
    manifest = run.parent / "data/manifest.csv"
    user, test = tiny.write_set(tmp_path / "user", (4, 0, 0), seed=1), tiny.write_set(tmp_path / "t", (3, 0, 0), seed=2)
    settings = Settings(weights, epochs=2, seed=0)
    new = finetune(run, user, tmp_path / "new", settings=settings, test=test, device=device, measured=False)
    assert RunFolder(new).finished
    assert load(new).device.type == "cpu"
    assert evaluate(new, manifest=manifest)["clips"] == 17


@pytest.mark.parametrize("device", DEVICES)
def test_a_server_answers_batches_from_its_device(run: Path, device: str) -> None:
    here, there = load(run), load(run, device=device)
    clips = [{name: torch.randn(n, width) for name, width in tiny.FEATURES.items()} for n in (2, 5)]
    batcher = Batcher(there, Numbers(), batch=2, wait_ms=10_000, room=10**6)
    read = [ClipFeatures({name: x.numpy() for name, x in here.features(clip)[0].items()}, {}) for clip in clips]
    for answer, clip in zip([batcher.submit(features) for features in read], clips, strict=True):
        assert answer.result(60).probabilities == pytest.approx(here.predict_one(clip).probabilities, abs=1e-3)
    batcher.close()
