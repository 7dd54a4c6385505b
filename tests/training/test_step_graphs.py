"""Steps that are captured and replayed give the gradients of steps that are run; here a stand-in captures them."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import tiny
from sparsefuse.files import checkpoint
from sparsefuse.methods import BASELINE, build, methods
from sparsefuse.mixup import Mix
from sparsefuse.tokens import Tokens
from sparsefuse.training import step_graphs
from sparsefuse.training.step_graphs import EAGER, StepGraphs, check_graphs, padded, rounded, should_capture

training = import_module("sparsefuse.training.train")
CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Tape:
    """Like a CUDA graph: nothing is computed while it captures, and later in the same tensors."""

    def __init__(self, parameters: Sequence[nn.Parameter]):
        self.parameters, self.captured, self.replayed = parameters, 0, 0

    def running(self) -> nullcontext:
        return nullcontext()

    def capture(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        state = torch.get_rng_state()
        loss = work()
        torch.set_rng_state(state)
        gradients = [p.grad for p in self.parameters]
        self.captured += 1
        for computed in (loss, *gradients):
            if computed is not None:
                computed.fill_(torch.nan)

        def replay() -> None:
            self.replayed += 1
            loss.copy_(work())
            for mine, parameter in zip(gradients, self.parameters, strict=True):
                if mine is not None:
                    mine.copy_(parameter.grad)
                parameter.grad = None  # a graph knows addresses, and no parameters

        return loss, replay


class Line:
    """y = w x, whose loss is the sum of y; a second weight is only used by kinds that say so."""

    def __init__(self) -> None:
        self.weights = [nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([3.0]))]
        self.calls = 0
        self.tape = Tape(self.weights)
        self.graphs = StepGraphs(self.step, self.weights, self.tape)

    def step(self, streams: dict[str, Tensor], mix: Mix | None, second: bool) -> Tensor:
        self.calls += 1
        for weight in self.weights:
            weight.grad = None
        (x,) = streams.values()
        y = self.weights[0] * x
        if second:
            y = y + self.weights[1]
        if mix is not None:
            y = y * mix.label
        y.sum().backward()
        return y.detach().sum()


def mix(label: list[float]) -> Mix:
    return Mix(1, torch.tensor([1, 0]), {}, torch.tensor(label))


def test_what_is_replayed_reads_its_own_numbers() -> None:
    line, given = Line(), []
    for i in range(1, 6):
        x = torch.tensor([1.0, 2.0]) * i
        loss = line.graphs({"a": x}, mix([0.5, 1.0]), True)
        # sum of (2 x + 3) label, its gradients sum of x label, and of label
        assert (float(loss), float(line.weights[0].grad), float(line.weights[1].grad)) == (5 * i + 4.5, 2.5 * i, 1.5)
        assert line.tape.replayed == max(0, i - EAGER)
        given.append(x)
    assert line.tape.captured == 1
    line.graphs({"a": x}, mix([0.0, 1.0]), True)
    assert float(line.weights[0].grad) == 10
    assert [x.tolist() for x in given] == [[i, 2 * i] for i in range(1, 6)], "graphs have tensors of their own"


@pytest.mark.parametrize(
    "other",
    [
        ({"a": torch.ones(3)}, None, True),
        ({"a": torch.ones(2, dtype=torch.float64)}, None, True),
        ({"b": torch.ones(2)}, None, True),
        ({"a": torch.ones(2)}, mix([0.5, 0.5]), True),
        ({"a": torch.ones(2)}, None, False),
    ],
)
def test_another_kind_has_a_graph_of_its_own(other: tuple) -> None:
    line = Line()
    for _ in range(EAGER + 2):
        line.graphs({"a": torch.ones(2)}, None, True)
    calls, captured = line.calls, line.tape.captured
    for _ in range(EAGER):
        line.graphs(*other)
    assert (line.calls, line.tape.captured) == (calls + EAGER, captured)
    line.graphs(*other)
    assert line.tape.captured == captured + 1
    assert (line.weights[1].grad is None) == (not other[2])
    line.graphs({"a": torch.ones(2)}, None, True)
    assert (line.tape.captured, float(line.weights[1].grad)) == (captured + 1, 2)


def test_two_depths_of_mixup_are_two_kinds() -> None:
    line = Line()
    for depth in (1, 2, 1, 2, 1, 2):
        line.graphs({"a": torch.ones(2)}, mix([1, 1])._replace(depth=depth), True)
    assert line.tape.captured == 2


def test_what_was_used_longest_ago_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_graphs, "MOST", 2)
    line = Line()

    def use(length: int, times: int = 1) -> int:
        for _ in range(times):
            line.graphs({"a": torch.ones(length)}, None, True)
        return line.tape.captured

    assert use(1, 3) == 1
    assert use(2, 3) == 2
    assert use(1) == 2
    assert use(3, 3) == 3  # and 2 goes
    assert use(1) == 3
    assert use(2) == 4
    assert len(line.graphs.kept) == 2


def test_what_cannot_be_captured_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()

    def capture(work: Callable[[], Tensor]) -> None:
        work()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    line.tape.capture = capture
    with caplog.at_level(logging.WARNING):
        losses = [float(line.graphs({"a": torch.ones(2) * i}, None, False)) for i in range(6)]
    assert losses == [0, 4, 8, 12, 16, 20]
    assert float(line.weights[0].grad) == 10
    assert [record.message for record in caplog.records] == [
        "a step cannot be captured as a CUDA graph (operation not permitted when stream is capturing): kernels are "
        "launched one by one, which gives the same and is slower; cuda_graphs=never says so without trying"
    ]


class Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("watch", ["hook", "mode"])
def test_who_watches_sees_every_step(watch: str) -> None:
    line = Line()
    for _ in range(EAGER + 2):
        line.graphs({"a": torch.ones(2)}, None, True)
    calls = line.calls
    if watch == "mode":
        with Mode():
            line.graphs({"a": torch.ones(2)}, None, True)
    else:
        handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
        line.graphs({"a": torch.ones(2)}, None, True)
        handle.remove()
    assert (line.calls, line.tape.replayed) == (calls + 1, 2)
    line.graphs({"a": torch.ones(2)}, None, True)
    assert line.tape.replayed == 3


def test_a_mistake_in_a_step_is_no_matter_of_capturing() -> None:
    line = Line()
    for _ in range(EAGER + 1):
        with pytest.raises(ValueError, match="unpack"):
            line.graphs({"a": torch.ones(2), "b": torch.ones(2)}, None, True)


@pytest.mark.parametrize(
    ("length", "longest", "wanted"),
    [(1, 9, 1), (2, 9, 2), (3, 9, 3), (4, 9, 4), (5, 9, 6), (7, 9, 8), (9, 9, 9), (9, 40, 12), (13, 40, 16),
     (33, 40, 40), (33, 99, 48), (64, 99, 64), (65, 99, 96), (97, 99, 99), (12, 9, 12)],
)  # fmt: skip
def test_lengths_are_rounded_up(length: int, longest: int, wanted: int) -> None:
    assert rounded(length, longest) == wanted


def test_padding_changes_no_output() -> None:
    torch.manual_seed(0)
    model = build("sft", tiny.FEATURES, 3, lengths=tiny.LONGEST, keep=2, dim=10, num_heads=2).eval()
    tokens = {name: Tokens(torch.randn(2, 5, width), torch.ones(2, 5).bool()) for name, width in tiny.FEATURES.items()}
    tokens["rgb"].mask[1, 3:] = False
    more = padded(tokens, {"rgb": 40, "sound": 5})
    assert {name: t.x.shape[1] for name, t in more.items()} == {"rgb": 6, "sound": 5}
    assert not more["rgb"].mask[:, 5].any()
    rows = padded({"rgb": Tokens(torch.arange(10).view(2, 5), tokens["rgb"].mask)})
    assert rows["rgb"].x.tolist() == [[0, 1, 2, 3, 4, 0], [5, 6, 7, 8, 9, 0]]
    torch.testing.assert_close(model(more).logits, model(tokens).logits)


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """Steps are captured, by these."""
    made: list[Tape] = []

    def graphs(step: Callable[..., Tensor], parameters: Sequence[nn.Parameter], _: object) -> StepGraphs:
        made.append(Tape(parameters))
        made[-1].graphs = StepGraphs(step, parameters, made[-1])
        return made[-1].graphs

    monkeypatch.setattr(training, "Capture", lambda device: device)
    monkeypatch.setattr(training, "StepGraphs", graphs)
    monkeypatch.setattr(training, "should_capture", lambda *_: True)
    return made


@pytest.mark.parametrize(("drop", "longest"), [(0.0, 0), (0.1, 4)])
@pytest.mark.parametrize("method", ["sft", pytest.param("mbt", marks=pytest.mark.slow)])
def test_training_ends_in_the_same_weights(
    method: str, drop: float, longest: int, tapes: list[Tape], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With mixup, clipping, a running mean, and a modality that a clip lacks; the same bits without padding."""
    config = tiny.config(
        tiny.write_set(tmp_path / "data"), method, options={"drop": drop},
        epochs=8, mixup_alpha=0.3, mixup_warmup=0, ema=0.9, batch_size=3,
    )  # fmt: skip
    config = tiny.with_data(config, max_length=longest)
    run = training.train(config, tmp_path / "captured", root=Path(), measured=False)
    assert tapes[0].replayed > tapes[0].captured > 0
    shapes = {leaf[0] for kind in tapes[0].graphs.seen for leaf in kind if isinstance(leaf, tuple)}
    assert {shape[1] for shape in shapes if len(shape) == 3} <= {1, 2, 3, 4, 6}, "5 is padded"
    monkeypatch.setattr(training, "should_capture", lambda *_: False)
    wanted = training.train(config, tmp_path / "eager", root=Path(), measured=False)
    mine, theirs = (checkpoint.load(each / "last.safetensors").tensors for each in (run, wanted))
    assert len(tapes) == 1
    near = {"rtol": 0, "atol": 0} if longest else {"rtol": 1e-4, "atol": 1e-5}
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name], tensor, **near)


def test_when_steps_are_captured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    auto, always, never = (
        tiny.config(tmp_path / "m.csv", cuda_graphs=how, batch_size=10) for how in ("auto", "always", "never")
    )
    assert should_capture(auto, GPU, 1, 1e9)
    assert not should_capture(auto, GPU, 1, 1.1e9)
    assert not should_capture(auto, GPU, 2, 1)
    assert not should_capture(auto, CPU, 1, 1)
    assert should_capture(always, GPU, 1, 1e12)
    assert not should_capture(never, GPU, 1, 1)
    own = [replace(config, method="mine.py") for config in (auto, always)]  # who insists has read what `always` means
    assert [should_capture(config, GPU, 1, 1) for config in own] == [False, True]
    assert caplog.messages == ["steps are captured as CUDA graphs, one per shape of a batch and depth of mixup"] * 3


def test_always_says_why_it_cannot(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path), cuda_graphs="always")
    with pytest.raises(ValueError, match=r"train\.cuda_graphs is always, but training runs on cpu; set"):
        training.train(config, tmp_path / "run", root=Path())
    with pytest.raises(ValueError, match="is always, but 2 processes train together"):
        check_graphs(config, GPU, 2)
    check_graphs(config, GPU, 1)


@pytest.mark.gpu
@pytest.mark.parametrize("method", [name for name in methods() if name != BASELINE])
def test_graphs_on_a_gpu_give_the_weights_of_launches(
    method: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tiny.write_set(tmp_path / "data")
    tensors = {}
    for how in ("always", "never"):
        config = tiny.config(
            data, method, epochs=8, mixup_alpha=0.3, mixup_warmup=0, batch_size=3, device="cuda", cuda_graphs=how
        )
        run = training.train(config, tmp_path / how, root=Path(), measured=False)
        tensors[how] = checkpoint.load(run / "last.safetensors").tensors
    assert "cannot be captured" not in caplog.text
    for name, tensor in tensors["never"].items():
        torch.testing.assert_close(tensors["always"][name], tensor, rtol=1e-3, atol=1e-4)
