"""Forward passes that are captured and replayed give what the model gives; here a stand-in captures them."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference import forward_graphs as graphs
from sparsefuse.inference.forward_graphs import ForwardGraphs, forward_graphs
from sparsefuse.inference.predictor import Predictor, load
from sparsefuse.methods import build
from sparsefuse.model import FusionModel
from sparsefuse.runs.folder import RunFolder
from sparsefuse.tokens import Tokens
from sparsefuse.training.step_graphs import EAGER
from sparsefuse.training.train import train

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Tape:
    """Like a CUDA graph: nothing is computed while it captures, and later in the same tensors."""

    def __init__(self, seconds: float = 0):
        self.seconds, self.captured, self.replayed = seconds, 0, 0

    def running(self) -> nullcontext:
        return nullcontext()

    def capture(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        output = work().fill_(torch.nan)
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            time.sleep(self.seconds)
            output.copy_(work())

        return output, replay


@pytest.fixture(scope="module")
def model() -> FusionModel:
    torch.manual_seed(0)
    return build("sft", tiny.FEATURES, 3, lengths=tiny.LONGEST, keep=2, dim=10, num_heads=2).eval()


def clip(seed: int, length: int = 5, batch: int = 1) -> dict[str, Tokens]:
    torch.manual_seed(seed)
    mask = torch.ones(batch, length).bool()
    return {name: Tokens(torch.randn(batch, length, width), mask) for name, width in tiny.FEATURES.items()}


@torch.inference_mode()
def test_what_is_replayed_is_the_models_own_output(model: FusionModel) -> None:
    tape, length = Tape(), [5, 6, 5, 5, 6, 6]  # of all of which a batch is padded to 6
    captured = ForwardGraphs(model, tape)
    outputs = [captured(clip(seed, n)).logits for seed, n in enumerate(length)]
    for seed, (n, logits) in enumerate(zip(length, outputs, strict=True)):
        torch.testing.assert_close(logits, model(clip(seed, n)).logits)
    assert (tape.captured, tape.replayed) == (1, len(length) - EAGER)
    for _ in range(EAGER + 1):
        torch.testing.assert_close(captured(clip(7, batch=2)).logits, model(clip(7, batch=2)).logits)
    assert tape.captured == 2


def test_threads_get_their_own_answers(model: FusionModel) -> None:
    captured = ForwardGraphs(model, Tape(0.002))

    @torch.inference_mode()
    def ask(seed: int) -> Tensor:
        return captured(clips[seed]).logits

    clips = [clip(seed) for seed in range(24)]
    with ThreadPoolExecutor(6) as pool:
        answers = [*pool.map(ask, range(24))]
    for given, answer in zip(clips, answers, strict=True):
        torch.testing.assert_close(answer, model(given).logits.detach())


@torch.inference_mode()
def test_large_batches_and_those_that_are_looked_into_are_run(
    model: FusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "SMALL", 20)
    tape, depths = Tape(), []
    captured = ForwardGraphs(model, tape)
    for _ in range(EAGER + 2):
        captured(clip(0), probe=lambda depth, state: depths.append(depth))
        captured(clip(0, batch=3))
    assert (tape.captured, len(depths)) == (0, (EAGER + 2) * (len(model.layers) + 1))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    return train(tiny.config(tiny.write_set(folder / "data")), folder / "run", root=Path(), measured=False)


def test_predictions_are_the_same(run: Path) -> None:
    plain, captured, tape = load(run), load(run), Tape()
    captured.graphs = ForwardGraphs(captured.model, tape)
    clips = [{name: t.x[0] for name, t in clip(seed).items()} for seed in range(5)]
    for _ in range(2):
        for given in clips:
            close(captured.predict(given).probabilities, plain.predict(given).probabilities)
        for mine, other in zip(captured.predict(clips), plain.predict(clips), strict=True):
            close(mine.probabilities, other.probabilities)
    assert tape.replayed == 10 - EAGER
    clips[2] = {name: x * 3e38 for name, x in clips[2].items()}
    results = [*captured.results(clips)]
    assert [i for i, result in enumerate(results) if isinstance(result, Unusable)] == [2]


def close(mine: dict[str, float], other: dict[str, float]) -> None:
    assert mine == pytest.approx(other, abs=1e-6)


def test_it_is_for_gpus_and_for_methods_that_are_known(model: FusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "Capture", lambda device: Tape())
    made = {
        (device.type, when, own): forward_graphs(model, device, when, own_method=own) is not None
        for device in (CPU, GPU) for when in ("never", "auto") for own in (False, True)
    }  # fmt: skip
    assert [case for case, captured in made.items() if captured] == [("cuda", "auto", False)]
    assert forward_graphs(model, GPU, "always", own_method=True)
    with pytest.raises(ValueError, match="cuda_graphs is always, but the model is on cpu; give device=cuda, or auto"):
        forward_graphs(model, CPU, "always", own_method=False)


def test_loading_asks_for_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_any = import_module("sparsefuse.inference.load").load
    with pytest.raises(ValueError, match="cuda_graphs is always, but the model is on cpu"):
        load_any(run, cuda_graphs="always")
    assert load_any(run, cuda_graphs="auto").graphs is None
    monkeypatch.setattr(RunFolder, "task", "segment")
    with pytest.raises(ValueError, match="passes of scenes are never captured"):
        load_any(run, cuda_graphs="always")


@pytest.mark.gpu
def test_a_gpu_replays_what_it_would_launch(run: Path) -> None:
    plain, captured = load(run, device="cuda"), load(run, device="cuda", cuda_graphs="always")
    clips = [{name: t.x[0] for name, t in clip(seed).items()} for seed in range(2 * EAGER + 2)]

    def each(predictor: Predictor) -> list[dict[str, float]]:
        return [predictor.predict(given).probabilities for given in clips]

    for mine, other in zip(each(captured), each(plain), strict=True):
        assert mine == pytest.approx(other, abs=1e-4)
    assert captured.graphs is not None
    assert captured.graphs._graphs.kept
