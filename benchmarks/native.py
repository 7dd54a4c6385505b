"""A block in C++ beside the same block in PyTorch's operations, forward and with its backward pass.

    python benchmarks/native.py                     ms a batch of 8 clips, one thread, and how much faster C++ is
    python benchmarks/native.py --threads 2 --dim 64 --heads 4 --lengths 100 300

Both run in turns within one process, and the least of many times counts: others on the machine only add to it.
"""

import argparse
import gc
import time
from collections.abc import Callable

import torch

from sparsefuse.layers import ops
from sparsefuse.layers.block import Block
from sparsefuse.layers.fused import run_blocks
from sparsefuse.layers.ops import Pattern
from sparsefuse.tokens import Tokens

SAMPLES = 8
SECONDS = 1.0
"""of each row"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dim", type=int, default=40)
    parser.add_argument("--heads", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="+", default=[46, 501, 1239])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(ops.status()["native"])
    print(f"{'pattern':8} {'tokens':>6} {'pass':8} {'C++ ms':>9} {'torch ms':>9} {'ratio':>6}")
    for pattern in ("dense", "local", "strided"):
        for length in given.lengths:
            for name, run in passes(pattern, length, given.dim, given.heads).items():
                mine, theirs = in_turns(run)
                print(f"{pattern:8} {length:6} {name:8} {mine:9.3f} {theirs:9.3f} {theirs / mine:6.2f}", flush=True)


def passes(pattern: Pattern, length: int, dim: int, heads: int) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    layer = Block(dim, heads, pattern=pattern)
    x, mask = torch.randn(SAMPLES, 1 + length, dim), torch.ones(SAMPLES, 1 + length, dtype=torch.bool)
    learned, grad = x.clone().requires_grad_(), torch.randn(x.shape)

    @torch.inference_mode()
    def forward() -> None:
        run_blocks([layer], Tokens(x, mask))

    return {"forward": forward, "both": lambda: run_blocks([layer], Tokens(learned, mask)).x.backward(grad)}


def in_turns(run: Callable[[], object]) -> tuple[float, float]:
    """Least milliseconds in C++ and without it."""
    times: tuple[list[float], list[float]] = ([], [])
    gc.disable()
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times[1]) < 4:
        times[0].append(timed(run))
        with ops.backend("torch"):
            times[1].append(timed(run))
    gc.enable()
    return min(times[0]) * 1e3, min(times[1]) * 1e3


def timed(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
