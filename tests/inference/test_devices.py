"""Where a run is used is an option: what is not there is named, and what is there gives the same answers."""

from pathlib import Path

import pytest
import torch

import tiny
from sparsefuse.cost.table import ledger
from sparsefuse.inference.evaluate import evaluate
from sparsefuse.inference.predictor import load
from sparsefuse.parallel.devices import device_of
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


def test_auto_is_a_device_that_is_there(run: Path) -> None:
    assert device_of("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert evaluate(run, device="auto")["loss"] == pytest.approx(evaluate(run)["loss"], rel=1e-3)


@pytest.mark.gpu
def test_cost_measures_where_it_is_asked_to() -> None:
    (row,) = ledger(["sft"], {"a": 9}, {"a": 4}, 3, {}, measured=True, device="cuda")
    assert row.measured is not None
    assert row.measured.latency_ms > 0
