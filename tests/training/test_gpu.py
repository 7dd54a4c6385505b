"""Training on a GPU: killed and resumed it ends in the same bits, and its run is used on a processor."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny
from sparsefuse.files import checkpoint
from sparsefuse.inference.predictor import load
from sparsefuse.tokens import Tokens
from sparsefuse.training.train import train

pytestmark = pytest.mark.gpu
KILLED = """
import os, signal, sys
from pathlib import Path
from sparsefuse.cli.app import main
from sparsefuse.training.train import _Run

def save(self, at, save=_Run.save):
    save(self, at)
    if (at.epoch, at.batch) == (1, 2):
        os.kill(os.getpid(), signal.SIGKILL)

_Run.save = save
main()
"""


def test_a_killed_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), batch_size=3, save_minutes=0.0, device="cuda")
    whole = train(config, tmp_path / "whole", root=Path(), measured=False)
    tiny.write_yaml(tmp_path / "c.yaml", config)
    command = ["train", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run")]
    killed = subprocess.run([sys.executable, "-c", KILLED, *command], env=os.environ, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    train(config, tmp_path / "run", root=Path(), resume=True, measured=False)
    mine, wanted = (checkpoint.load(run / "last.safetensors").tensors for run in (tmp_path / "run", whole))
    assert all(mine[name].equal(tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_of_a_gpu_is_used_on_a_processor(precision: str, tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), device="cuda", precision=precision)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    here, there = load(run), load(run, device="cuda")
    features, mask = here.model.features, torch.ones(2, 5, dtype=torch.bool)
    clips = {name: Tokens(torch.randn(2, 5, width), mask) for name, width in features.items()}
    with torch.inference_mode():
        mine, _ = here.model(clips)
        other, _ = there.model({name: Tokens(x.cuda(), mask.cuda()) for name, (x, mask) in clips.items()})
    torch.testing.assert_close(other.cpu(), mine, rtol=1e-3, atol=1e-3)
