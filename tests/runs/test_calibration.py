"""The temperature makes validation losses no higher, and changes no label."""

import math

import pytest
import torch

from sparsefuse.data.labels import Labels
from sparsefuse.runs.calibration import RANGE, calibrate

KNOWN = Labels("class", ("a", "b", "c"))


def sure(scale: float, n: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of which `scale` times smaller ones are exactly right: labels are drawn from their softmax."""
    generator = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(n, 3, generator=generator)
    return scale * honest, torch.multinomial(honest.softmax(1), 1, generator=generator)[:, 0]


def smoothed(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The mean cross entropy by hand, one more clip of any label among them."""
    shares = logits.double().log_softmax(1)
    known = -shares[torch.arange(len(labels)), labels].mean()
    unknown = -shares.mean()
    return float((len(labels) * known + unknown) / (len(labels) + 1))


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_it_finds_by_how_much_logits_are_too_large(scale: float) -> None:
    logits, labels = sure(scale)
    found = calibrate(logits, labels, KNOWN)
    assert found is not None
    assert found.temperature == pytest.approx(scale, rel=0.15)
    grid = [smoothed(logits / t, labels) for t in torch.logspace(-1, 1, 200).tolist()]
    assert found.loss <= min(grid) + 1e-5
    assert found.loss == pytest.approx(smoothed(logits / found.temperature, labels))
    assert found.loss_before == pytest.approx(smoothed(logits, labels))


@pytest.mark.parametrize("task", ["class", "multilabel", "heads"])
def test_the_loss_does_not_rise(task: str) -> None:
    torch.manual_seed(0)
    labels = {
        "class": torch.randint(3, (30,)),
        "multilabel": torch.randint(2, (30, 3)).float(),
        "heads": torch.randint(1, (30, 2)),
    }[task]
    known = Labels(task, ("a", "b", "c"), {"x": 2, "y": 1} if task == "heads" else {})  # type: ignore[arg-type]
    found = calibrate(5 * torch.randn(30, 3), labels, known)
    assert found is not None
    assert found.loss < found.loss_before
    assert RANGE[0] <= found.temperature <= RANGE[1]


def test_clips_that_are_all_right_do_not_make_it_certain() -> None:
    """By hand: of 4 clips one is of any label, so a clip's own class gets 3/4 + 1/12 and each other one 1/12."""
    found = calibrate(torch.eye(3), torch.arange(3), KNOWN)
    assert found is not None
    assert found.temperature == pytest.approx(1 / math.log(10), rel=1e-3)


def test_regression_has_none() -> None:
    assert calibrate(torch.randn(3, 1), torch.randn(3), Labels("regression")) is None
