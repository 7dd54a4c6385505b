"""Two processes that train together compute what one does with the same global batches."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny
from sparsefuse import checkpoint
from sparsefuse.config import Config
from sparsefuse.train import train

TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def torchrun(arguments: list[str]) -> str:
    """Runs two processes; gives all they printed."""
    ended = subprocess.run(
        [*TWO, *arguments], env=tiny.environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout + ended.stderr


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """10 clips in batches of 3: shares of two and one, and in an epoch's last batch fewer clips than processes.

    The loss has a penalty that differs by clip, by a rule for learning that heeds the size of gradients.
    """
    options = {"views": "learned", "view_price": 10.0}
    manifest = tiny.write_set(tmp_path / "data", (10, 5, 3))
    return tiny.config(manifest, "locomt", options=options, epochs=2, batch_size=3, optimizer="sgd", lr=0.05, clip=0.0)


def told(name: str, weights: torch.Tensor) -> torch.Tensor:
    """The weights that the loss depends on. Softmax ignores the bias of the keys; Adam makes steps of its rounding."""
    return weights.unflatten(0, (3, -1))[[0, 2]] if name.endswith("qkv.bias") else weights


@pytest.mark.slow
def test_two_processes_train_as_one_does(config: Config, tmp_path: Path) -> None:
    alone = train(config, tmp_path / "alone", root=Path(), measured=False)
    yaml = tiny.write_yaml(tmp_path / "config.yaml", config)
    pair = tmp_path / "pair"
    printed = torchrun(["-m", "sparsefuse", "train", str(yaml), "--out", str(pair)])
    assert len(tiny.epochs(pair)) == len(tiny.epochs(alone)) == 2
    for mine, theirs in zip(tiny.epochs(pair), tiny.epochs(alone), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)
    for name in ("model.safetensors", "last.safetensors"):
        mine, theirs = checkpoint.load(pair / name).tensors, checkpoint.load(alone / name).tensors
        assert mine.keys() == theirs.keys()
        for key, tensor in mine.items():
            if key.startswith("model/"):
                torch.testing.assert_close(told(key, tensor), told(key, theirs[key]), atol=1e-5, rtol=1e-5)
    results = [json.loads((run / "result.json").read_text()) for run in (pair, alone)]
    for split in ("valid", "test"):
        assert results[0][split] == pytest.approx(results[1][split], abs=1e-5)
    assert printed.count("epoch 1: train loss") == 1, "one process speaks"


SLOW_DISK = """
import sys, time
from pathlib import Path
from sparsefuse import checkpoint
from sparsefuse.cli import main
save = checkpoint.save

def late(path, *rest):
    time.sleep(0.5)
    save(path, *rest)

checkpoint.save = late
main()
print("whole" if Path(sys.argv[-1], "result.json").exists() else "not whole")
"""


@pytest.mark.slow
def test_processes_wait_for_what_the_first_one_writes(config: Config, tmp_path: Path) -> None:
    """For the best weights, which all read, and for the result: one that ends right after it has sent its last part
    may abort, and torchrun then ends the others."""
    (tmp_path / "slow_disk.py").write_text(SLOW_DISK)
    yaml = tiny.write_yaml(tmp_path / "config.yaml", config)
    arguments = ["train", str(yaml), "--train.epochs=1", "--out", str(tmp_path / "pair")]
    printed = torchrun([str(tmp_path / "slow_disk.py"), *arguments])
    assert printed.count("whole") == 2
    assert "not whole" not in printed
