"""How much faster a LoCoMT layer is when half its heads cross: the ratio of times, in turns, in one process.

    python benchmarks/views.py

Lengths 1568 and 400 with CLS, as in the paper's example. Prints a line per choice of views: score products counted, as
a ratio to all heads reading themselves, and the time of the layer, as the same ratio (median over rounds).
"""

import statistics
import time

import torch

from sparsefuse.layers.views import FixedViews, ViewBlock, score_products
from sparsefuse.tokens import State, Tokens

LENGTHS = {"audio": 400, "video": 1568}
NAMES = tuple(LENGTHS)
HEADS, DIM = 4, 256
ROUNDS = 15


def layer(views: dict[str, int]) -> ViewBlock:
    """A layer of MBT-like heads, 64 wide."""
    return ViewBlock(NAMES, FixedViews(NAMES, views, HEADS), dim=DIM, num_heads=HEADS).eval()


def seconds(block: ViewBlock, state: State) -> float:
    """The time of one pass."""
    start = time.perf_counter()
    block(state)
    return time.perf_counter() - start


@torch.inference_mode()
def main() -> None:
    """Prints the table."""
    choices = {
        "all self": {"self": HEADS},
        "half cross": {"self": HEADS // 2, "audio+video": HEADS // 2},
        "all cross": {"audio+video": HEADS},
    }
    blocks = {name: layer(views) for name, views in choices.items()}
    streams = {n: Tokens(torch.randn(1, length, DIM), torch.ones(1, length).bool()) for n, length in LENGTHS.items()}
    state = State(streams, torch.zeros(()))
    times: dict[str, list[float]] = {name: [] for name in blocks}
    for _ in range(ROUNDS):
        for name, block in blocks.items():
            times[name].append(seconds(block, state))
    whole = HEADS * score_products("self", LENGTHS)
    print("| views | score products | time | 10-90 % of rounds |\n|:--|--:|--:|--:|")
    for name, views in choices.items():
        products = sum(count * score_products(view, LENGTHS) for view, count in views.items()) / whole
        ratios = [own / base for own, base in zip(times[name], times["all self"], strict=True)]
        low, *_, high = statistics.quantiles(ratios, n=10)
        print(f"| {name} | {products:.3f} | {statistics.median(ratios):.3f} | {low:.3f} to {high:.3f} |")


if __name__ == "__main__":
    main()
