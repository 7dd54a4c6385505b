"""How fast the methods are: at the shapes of the SFT study, and as one clip grows longer.

    python benchmarks/speed.py         writes results/benchmark/<device>-torch<ver>-<precision>*.{csv,md,png}
    python benchmarks/speed.py --rounds 2 --out /tmp/benchmark --longest 2048        a quick look

All models run in turns within one process, each right after the one it is held against: whatever else the machine does
slows both alike, and their ratio is that of the pair. Run from the repository's root.
"""

import argparse
import csv
import io
import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.progress import track
from torch._functorch import config as functorch

from sparsefuse.cost.count import count, random_clips
from sparsefuse.cost.measure import forward, peak_bytes, train_step
from sparsefuse.cost.roofline import seconds
from sparsefuse.cost.table import PUBLISHED
from sparsefuse.files.whole import replacing, write_text
from sparsefuse.layers import ops
from sparsefuse.methods import build
from sparsefuse.model import FusionModel
from sparsefuse.parallel.devices import device_of
from sparsefuse.parallel.memory import keep_memory
from sparsefuse.tokens import Tokens
from sparsefuse.training.compiling import compile_layers


class Contender(NamedTuple):
    """A row of the table."""

    method: str
    options: dict[str, Any]
    pytorch: bool = False
    """by PyTorch's kernels, as published code runs it, where a backend of ours is faster"""
    compiled: bool = False
    """the layers that gain by it through torch.compile"""


LOCAL = {"unimodal_attention": "local", "sparse": "local"}
BASE = "concat, PyTorch's attention"  # what the others are held against
MODELS = {
    BASE: Contender("concat", {}, pytorch=True),
    "concat": Contender("concat", {}),
    "late": Contender("late", {}),
    "mult": Contender("mult", {}),
    "mbt": Contender("mbt", {}),
    "sft, released": Contender("sft", {"sparse": "dense"}),
    "sft": Contender("sft", {}),
    "sft, sparse throughout": Contender("sft", LOCAL),
    "sft, sparse throughout, compiled": Contender("sft", LOCAL, compiled=True),
}
SWEPT = (BASE, "concat", "sft", "sft, sparse throughout")
CLASSES = {"vggs": 100, "mosei": 7}
WIDTH = 128  # of the stream that grows
BUDGET = 0.5  # of what compiled layers would hold for the way back; cheaper things, as gathered keys, are made again
TURN = 0.25  # seconds that a model runs, or once: a short step must not be judged by the caches its neighbour left
DENSE_LIMIT = 4096  # tokens, above which models with dense attention are left out of the sweep: minutes a step


class Pair(NamedTuple):
    """Seconds of two models, one right after the other."""

    base: float
    mine: float


class Line(NamedTuple):
    """A model at one shape."""

    shape: str
    model: str
    batch: int
    gmacs: float
    eval_ms: float
    """a batch, median over rounds"""
    eval_ratio: float
    """the first model's time over this one's, median over pairs"""
    train_ms: float
    train_ratio: float
    memory_mb: float
    """peak activations of a training step with the batch"""
    memory_ratio: float


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--longest", type=int, default=32768)
    parser.add_argument("--compile", action="store_true", help="add rows for torch.compile; minutes more")
    parser.add_argument("--out", type=Path, default=Path("results/benchmark"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_memory()
    device = torch.device(device_of(options.device))
    torch._dynamo.config.recompile_limit = 64  # pyright: ignore[reportPrivateImportUsage]  # one per layer and mode
    functorch.activation_memory_budget = BUDGET
    rows = [name for name, entry in MODELS.items() if options.compile or not entry.compiled]
    with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
        lines = [line for shape in PUBLISHED for line in at_shape(shape, rows, options.batch, options.rounds, device)]
        swept = sweep(options.longest, max(options.rounds // 3, 2), device)
    name = "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device).lower().replace(" ", "-")
    version = ".".join(torch.__version__.split("+")[0].split(".")[:2])
    place = f"{name}-torch{version}-{options.precision}"
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / f"{place}.csv", lines)
    write_csv(options.out / f"{place}-length.csv", swept)
    told = f"{options.threads} threads, " if device.type == "cpu" else ""
    text = f"# benchmark\n\n{markdown(lines)}\n\nBatch {options.batch}, {told}{options.rounds} rounds. "
    text += "Time against length, fitted: " + ", ".join(f"{m} N^{s:.2f}" for m, s in slopes(swept).items()) + ".\n"
    write_text(options.out / f"{place}.md", text)
    plot(options.out / f"{place}-length.png", swept)
    print(text)


def at_shape(shape: str, rows: Sequence[str], batch: int, rounds: int, device: torch.device) -> list[Line]:
    """Models on the clips of a published study."""
    study = PUBLISHED[shape]
    options = {**study.options, "sft": {"keep": study.options["sft"]["keep"]}}
    models = {}
    for name in rows:
        entry = MODELS[name]
        model = _built(entry, study.features, CLASSES[shape], study.lengths, options.get(entry.method, {}))
        models[name] = model.to(device)
    return compared(shape, models, study.lengths, batch, rounds)


def sweep(longest: int, rounds: int, device: torch.device) -> list[Line]:
    """One modality of 256 tokens, then twice as many, up to `longest`; batch 1."""
    lines = []
    for length in (2**i for i in range(8, int(math.log2(longest)) + 1)):
        lengths = {"stream": length}
        models = {
            name: _built(MODELS[name], {"stream": WIDTH}, 10, lengths, {}).to(device)
            for name in SWEPT
            if length <= DENSE_LIMIT or MODELS[name].options == LOCAL
        }
        found = compared(str(length), models, lengths, 1, rounds)
        if length > DENSE_LIMIT:  # nothing to hold them against
            found = [line._replace(eval_ratio=math.nan, train_ratio=math.nan, memory_ratio=math.nan) for line in found]
        lines += found
    return lines


def _built(
    entry: Contender, features: dict[str, int], classes: int, lengths: dict[str, int], options: dict[str, Any]
) -> FusionModel:
    return build(entry.method, features, classes, lengths=lengths, **options, **entry.options)


def compared(
    shape: str, models: dict[str, FusionModel], lengths: dict[str, int], batch: int, rounds: int
) -> list[Line]:
    """Time and memory of all models; the first is what the others are held against."""
    first, *_ = models
    device = next(models[first].parameters()).device
    clips = random_clips(models[first], lengths, batch, device)
    gmacs = {name: count(model, lengths).total / 1e9 for name, model in models.items()}
    for name, model in models.items():
        if MODELS[name].compiled:
            compile_layers(model)
    evals, trains = (paired(run, models, clips, rounds, shape) for run in (forward, train_step))
    memory = {}
    for name, model in models.items():
        with _backend(MODELS[name]):
            memory[name] = peak_bytes(model, clips, device)
    return [
        Line(
            shape=shape,
            model=name,
            batch=batch,
            gmacs=gmacs[name],
            eval_ms=1e3 * statistics.median(pair.mine for pair in evals[name]),
            eval_ratio=statistics.median(pair.base / pair.mine for pair in evals[name]),
            train_ms=1e3 * statistics.median(pair.mine for pair in trains[name]),
            train_ratio=statistics.median(pair.base / pair.mine for pair in trains[name]),
            memory_mb=memory[name] / 1e6,
            memory_ratio=memory[first] / memory[name],
        )
        for name in models
    ]


def paired(
    run: Callable[[FusionModel, dict[str, Tokens]], None],
    models: dict[str, FusionModel],
    clips: dict[str, Tokens],
    rounds: int,
    told: str,
) -> dict[str, list[Pair]]:
    """Times every model right after the first, which is held against itself too: how far that is from 1 is noise."""
    first, *_ = models
    device = next(models[first].parameters()).device

    def timed(name: str) -> float:
        once = partial(seconds, partial(run, models[name], clips), device, warmup=0)
        with _backend(MODELS[name]):
            found = once(1)
            return statistics.median(found + once(int(TURN / found[0])))

    for name in models:  # the warm-up
        timed(name)
    turns = track(range(rounds), f"{told:>6}", transient=True)
    found = [{name: Pair(timed(first), timed(name)) for name in models} for _ in turns]
    return {name: [turn[name] for turn in found] for name in models}


def _backend(entry: Contender) -> AbstractContextManager[None]:
    """PyTorch's operations where a row is to have them, else whatever is fastest here."""
    return ops.backend("torch" if entry.pytorch else "auto")


def slopes(lines: Sequence[Line]) -> dict[str, float]:
    """Per model, the slope of log training time against log length, from 1024 tokens on."""
    found = {}
    for model in dict.fromkeys(line.model for line in lines):
        points = [(int(line.shape), line.train_ms) for line in lines if line.model == model and int(line.shape) >= 1024]
        if len(points) > 1:
            lengths, times = zip(*points, strict=True)
            fit = statistics.linear_regression([math.log(n) for n in lengths], [math.log(t) for t in times])
            found[model] = fit.slope
    return found


def markdown(lines: Sequence[Line]) -> str:
    """The table of docs/performance.md."""
    rows = [
        "| clip | method | GMACs | eval ms | x | train ms | x | memory MB | x |",
        "|:--|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for line in lines:
        cells = [line.shape, line.model, f"{line.gmacs:.3f}"]
        for value, ratio in (
            (line.eval_ms, line.eval_ratio),
            (line.train_ms, line.train_ratio),
            (line.memory_mb, line.memory_ratio),
        ):
            cells += [f"{value:.1f}", f"{ratio:.1f}"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def write_csv(path: Path, lines: Sequence[Line]) -> None:
    """All figures, unrounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([Line._fields, *lines])
    write_text(path, text.getvalue())


def plot(path: Path, lines: Sequence[Line]) -> None:
    """Time of a training step against length, both axes logarithmic."""
    import matplotlib.pyplot as plt

    fitted = slopes(lines)
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for model in dict.fromkeys(line.model for line in lines):
        points = [(int(line.shape), line.train_ms) for line in lines if line.model == model]
        label = f"{model}: N^{fitted[model]:.2f}" if model in fitted else model
        axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("tokens N of one modality")
    axes.set_ylabel("training step of one clip, ms")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(top=4 * axes.get_ylim()[1])  # room for the names
    axes.legend(frameon=False, loc="upper left")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


if __name__ == "__main__":
    main()
