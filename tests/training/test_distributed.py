"""Two processes that train together compute what one does with the same global batches."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import tiny
from sparsefuse.config import Config
from sparsefuse.files import checkpoint
from sparsefuse.training.train import train

TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


SLOW_DISK = """
import sys, time
from pathlib import Path
from sparsefuse.files import checkpoint
from sparsefuse.cli.app import main
save = checkpoint.save

def late(path, *rest):
    time.sleep(0.5)
    save(path, *rest)

checkpoint.save = late
main()
print("whole" if Path(sys.argv[-1], "result.json").exists() else "not whole")
"""


class Pair(NamedTuple):
    """Two processes, on a disk that takes its time."""

    config: Config
    run: Path
    printed: str


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """10 clips in batches of 3: shares of two and one, and in an epoch's last batch fewer clips than processes.

    The loss has a penalty that differs by clip, by a rule for learning that heeds the size of gradients.
    """
    folder = tmp_path_factory.mktemp("pair")
    options = {"views": "learned", "view_price": 10.0}
    manifest = tiny.write_set(folder / "data", (10, 5, 3))
    spec = {"optimizer": "sgd", "lr": 0.05, "clip": 0.0, "balance": "sampler"}
    config = tiny.config(manifest, "locomt", options=options, epochs=2, batch_size=3, **spec)
    (folder / "slow_disk.py").write_text(SLOW_DISK)
    yaml = tiny.write_yaml(folder / "config.yaml", config)
    command = [*TWO, str(folder / "slow_disk.py"), "train", str(yaml), "--out", str(folder / "pair")]
    ended = subprocess.run(command, env=tiny.environment(), capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return Pair(config, folder / "pair", ended.stdout + ended.stderr)


def told(name: str, weights: torch.Tensor) -> torch.Tensor:
    """The weights that the loss depends on. Softmax ignores the bias of the keys; Adam makes steps of its rounding."""
    return weights.unflatten(0, (3, -1))[[0, 2]] if name.endswith("qkv.bias") else weights


@pytest.mark.slow
def test_two_processes_train_as_one_does(pair: Pair, tmp_path: Path) -> None:
    alone = train(pair.config, tmp_path / "alone", root=Path(), measured=False)
    assert len(tiny.epochs(pair.run)) == len(tiny.epochs(alone)) == 2
    for mine, theirs in zip(tiny.epochs(pair.run), tiny.epochs(alone), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)
    for name in ("model.safetensors", "last.safetensors"):
        mine, theirs = checkpoint.load(pair.run / name).tensors, checkpoint.load(alone / name).tensors
        assert mine.keys() == theirs.keys()
        for key, tensor in mine.items():
            if key.startswith("model/"):
                torch.testing.assert_close(told(key, tensor), told(key, theirs[key]), atol=1e-5, rtol=1e-5)
    results = [json.loads((run / "result.json").read_text()) for run in (pair.run, alone)]
    for split in ("valid", "test"):
        assert results[0][split] == pytest.approx(results[1][split], abs=1e-5)


@pytest.mark.slow
def test_one_process_speaks(pair: Pair) -> None:
    assert pair.printed.count("epoch 1 of ") == 1


@pytest.mark.slow
def test_processes_wait_for_what_the_first_one_writes(pair: Pair) -> None:
    """For the best weights, which all read, and for the result: one that ends right after it has sent its last part
    may abort, and torchrun then ends the others."""
    assert pair.printed.count("whole") == 2
    assert "not whole" not in pair.printed
