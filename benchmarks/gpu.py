"""How fast the methods are on a GPU, at the shapes of the SFT study, and as one clip grows longer.

    python benchmarks/gpu.py           writes results/benchmark/<device>-torch<ver>-<precision>{.csv,.md,-length.csv}

Each model is timed as it is (eager) and captured as a CUDA graph, by the wall clock, and by CUDA events beside it, over
steps that are not waited for one by one; launches, and how long the device was busy, are the profiler's. Every row is
held against the best of concat with PyTorch's own kernels: eager, compiled, captured. A third mode, `step`, is a whole
step of training (backward, clipping, AdamW): eager against captured says what graphs in the training loop gain. Memory
is the peak of a training step, without the model. Ratios are of medians over rounds, in which all rows take turns.
`benchmarks/gpu.sh` runs this with the tests and a training; `results/gpu_targets.py` holds it against what is wanted.
"""

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from sparsefuse.cost.count import random_clips
from sparsefuse.cost.measure import forward, peak_bytes, train_step
from sparsefuse.cost.table import PUBLISHED
from sparsefuse.files.rows import csv_text
from sparsefuse.files.whole import write_text
from sparsefuse.layers import ops
from sparsefuse.methods import build
from sparsefuse.model import FusionModel
from sparsefuse.parallel.devices import device_of
from sparsefuse.tokens import Tokens

LOCAL = {"unimodal_attention": "local", "sparse": "local"}
BASE = "concat, PyTorch"
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    BASE: ("concat", {}),
    "concat": ("concat", {}),
    "late": ("late", {}),
    "mult": ("mult", {}),
    "mbt": ("mbt", {}),
    "sft, released": ("sft", {"sparse": "dense"}),
    "sft": ("sft", {}),
    "sft, sparse throughout": ("sft", LOCAL),
}
SWEPT = {"local": {"unimodal_attention": "local"}, "strided": {"unimodal_attention": "strided"}}
CLASSES = {"vggs": 100, "mosei": 7}
Step = Callable[[FusionModel, dict[str, Tokens]], None]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TURN = 0.05  # seconds of a turn, or one step


class Line(NamedTuple):
    """A model at one shape, in one form and mode."""

    shape: str
    batch: int
    model: str
    form: str
    """eager, compiled or graph"""
    mode: str
    """eval, train (forward and backward) or step (and clipping and AdamW)"""
    ms: float
    """a batch, by the wall clock"""
    event_ms: float
    """by CUDA events"""
    busy_ms: float
    """of it, the device"""
    launches: int
    memory_mb: float
    ratio: float = math.nan
    """the best base's time over this one's"""
    memory_ratio: float = math.nan


class Swept(NamedTuple):
    """A training step of one clip."""

    pattern: str
    tokens: int
    ms: float
    memory_mb: float


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=DTYPES, default="bfloat16")
    parser.add_argument("--batch", type=int, nargs="+", default=[24, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--longest", type=int, default=2**20, help="tokens of the longest clip of the sweep; 0 = none")
    parser.add_argument("--compile-all", action="store_true", help="compile the layers of every model; many minutes")
    parser.add_argument("--no-compile", action="store_true", help="leave out the compiled base; minutes less")
    parser.add_argument("--out", type=Path, default=Path("results/benchmark"))
    options = parser.parse_args()
    device = torch.device(device_of(options.device))
    dtype, forms = DTYPES[options.precision], ["eager", "graph"] if device.type == "cuda" else ["eager"]
    place = options.out / f"{name_of(device)}-torch{'.'.join(torch.__version__.split('.')[:2])}-{options.precision}"
    options.out.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    for batch in options.batch:
        for shape in PUBLISHED:
            compiled = set(MODELS if options.compile_all else [] if options.no_compile else [BASE])
            lines += at_shape(shape, batch, device, dtype, forms, options.rounds, compiled=compiled)
            write(place, lines, [], options.rounds)  # what is measured is kept, whatever comes then
            print(f"{shape}, batch {batch}: done", flush=True)
    swept = sweep(options.longest, device, dtype, options.rounds)
    print(write(place, lines, swept, options.rounds))


def write(place: Path, lines: list[Line], swept: list[Swept], rounds: int) -> str:
    """All figures beside `place`; returns them as a page."""
    write_text(place.with_name(f"{place.name}.csv"), csv_text([Line._fields, *lines]))
    if swept:
        write_text(place.with_name(f"{place.name}-length.csv"), csv_text([Swept._fields, *swept]))
    told = f"{rounds} rounds; torch {torch.__version__}; Triton {ops.status()['triton']}."
    text = "\n\n".join(["# benchmark", table(lines), steps_table(lines), told, sweep_table(swept)]) + "\n"
    write_text(place.with_name(f"{place.name}.md"), text)
    return text


def at_shape(
    shape: str,
    batch: int,
    device: torch.device,
    dtype: torch.dtype,
    forms: list[str],
    rounds: int,
    *,
    compiled: set[str],
) -> list[Line]:
    """All models on random clips of a published study, in all modes."""
    study, runs, lines = PUBLISHED[shape], {}, []
    options = {**study.options, "sft": {"keep": study.options["sft"]["keep"]}}
    clips = None
    for name, (method, own) in MODELS.items():
        torch.manual_seed(0)
        model = build(
            method, study.features, CLASSES[shape], lengths=study.lengths, **options.get(method, {}), **own
        ).to(device)
        clips = clips or random_clips(model, study.lengths, batch, device)
        for form in forms + ["compiled"] * (name in compiled):
            mine = copy.deepcopy(model) if form == "compiled" else model  # compiling changes a model for good
            for mode, step in (("eval", forward), ("train", train_step), ("step", whole_step(mine))):
                try:
                    runs[name, form, mode] = made(mine, clips, step, form, dtype, pytorch=name == BASE)
                except RuntimeError as error:  # the others are measured
                    print(f"{shape}, {name}, {form}, {mode} does not run: {error}", flush=True)
    times: dict[tuple[str, str, str], list[tuple[float, float]]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            times[key].append(timed(run, device))
    for (name, form, mode), run in runs.items():
        busy, launches = profiled(run, device)
        peak = math.nan
        if form == "eager" and mode == "train":
            peak = peak_of(run, device)
        wall, events = (1e3 * statistics.median(each) for each in zip(*times[name, form, mode], strict=True))
        lines.append(Line(shape, batch, name, form, mode, wall, events, busy, launches, peak))
    return [held(line, lines) for line in lines]


def whole_step(model: FusionModel) -> Step:
    """A step as training takes it, which a graph can capture."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    optimizer = torch.optim.AdamW(model.parameters(), fused=on_gpu, capturable=on_gpu)

    def step(model: FusionModel, clips: dict[str, Tokens]) -> None:
        train_step(model, clips)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.8)
        optimizer.step()

    return step


def held(line: Line, lines: list[Line]) -> Line:
    """Against the best form of the base in the same mode."""
    bases = [each for each in lines if each.model == BASE and each.mode == line.mode]
    memory = [each.memory_mb for each in bases if not math.isnan(each.memory_mb)]
    ratio = min(each.ms for each in bases) / line.ms
    return line._replace(ratio=ratio, memory_ratio=memory[0] / line.memory_mb if memory else math.nan)


def made(
    model: FusionModel,
    clips: dict[str, Tokens],
    step: Callable[..., None],
    form: str,
    dtype: torch.dtype,
    *,
    pytorch: bool,
) -> Callable[[], None]:
    """One step in a form, ready to be called."""
    device = next(model.parameters()).device

    def once() -> None:
        with (
            ops.backend("torch") if pytorch else nullcontext(),
            torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16),
        ):
            step(model, clips)

    if form == "compiled":
        for layer in model.layers:
            layer.compile()
    for _ in range(3):
        once()
    if form != "graph":
        return once
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        once()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        once()
    return graph.replay


def timed(run: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """Seconds a call, of calls that follow each other without a wait: by the wall clock, and by the device's (nan on a
    processor)."""

    def many(count: int) -> tuple[float, float]:
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
        wait(device)
        start = time.perf_counter()
        for mark in marks[:1]:
            mark.record()
        for _ in range(count):
            run()
        for mark in marks[1:]:
            mark.record()
        wait(device)
        wall = (time.perf_counter() - start) / count
        return wall, marks[0].elapsed_time(marks[1]) / 1e3 / count if marks else math.nan

    return many(max(1, int(TURN / many(1)[0])))


def name_of(device: torch.device) -> str:
    """As its files begin."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device).lower().replace(" ", "-")


def wait(device: torch.device) -> None:
    """Until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def profiled(run: Callable[[], None], device: torch.device) -> tuple[float, int]:
    """Milliseconds that the device is busy with a call, and its kernels; (nan, 0) on a processor."""
    if device.type != "cuda":
        return math.nan, 0
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run()
        wait(device)
    kernels = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum(event.device_time_total for event in kernels) / 1e3, len(kernels)


def peak_of(run: Callable[[], None], device: torch.device) -> float:
    """Peak memory of a call in MB above what was in use; nan on a processor (see speed.py)."""
    if device.type != "cuda":
        return math.nan
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6


def sweep(longest: int, device: torch.device, dtype: torch.dtype, rounds: int) -> list[Swept]:
    """Pattern, tokens, milliseconds and MB of a training step of unimodal layers, from 4096 tokens on."""
    rows = []
    for pattern, options in SWEPT.items():
        length = 4096
        while length <= longest:
            model = build("unimodal", {"stream": 128}, 10, lengths={"stream": length}, **options).to(device)
            clips = random_clips(model, {"stream": length}, 1, device)
            run = made(model, clips, train_step, "eager", dtype, pytorch=False)
            ms = 1e3 * statistics.median(timed(run, device)[0] for _ in range(max(rounds // 2, 1)))
            memory = peak_bytes(model, clips, device) / 1e6 if device.type == "cuda" else math.nan
            rows.append(Swept(pattern, length, ms, memory))
            length *= 4
    return rows


def slope(rows: list[Swept]) -> float:
    """Of log time against log length."""
    return statistics.linear_regression([math.log(r.tokens) for r in rows], [math.log(r.ms) for r in rows]).slope


def table(lines: list[Line]) -> str:
    """A row a model and form, both modes."""
    rows = [
        "| shape | batch | method | form | eval ms | busy | launches | x | train ms | busy | launches | x | MB | x |"
    ]
    rows.append("|:--|--:|:--|:--|" + "--:|" * 10)
    for line in lines:
        if line.mode != "eval":
            continue
        cells = [line.shape, str(line.batch), line.model, line.form]
        trained = [each for each in lines if each[:4] == line[:4] and each.mode == "train"]
        for each in (line, *trained):
            cells += [f"{each.ms:.2f}", f"{each.busy_ms:.2f}", str(each.launches), f"{each.ratio:.2f}"]
        cells += [cell for each in trained for cell in (f"{each.memory_mb:.0f}", f"{each.memory_ratio:.1f}")]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def steps_table(lines: list[Line]) -> str:
    """A row a model, its whole steps in every form, and how many times as fast as eager the fastest is."""
    rows = ["| shape | batch | method | eager ms | graph ms | compiled ms | x |", "|:--|--:|:--|--:|--:|--:|--:|"]
    for line in lines:
        if line.mode == "step" and line.form == "eager":
            ms = {each.form: each.ms for each in lines if each[:3] == line[:3] and each.mode == "step"}
            cells = [f"{ms[form]:.2f}" if form in ms else "-" for form in ("eager", "graph", "compiled")]
            gain = f"{line.ms / min(ms.values()):.2f}"
            rows.append(f"| {' | '.join([line.shape, str(line.batch), line.model, *cells, gain])} |")
    return "\n".join(rows)


def sweep_table(rows: list[Swept]) -> str:
    """Time and memory against length, and the fitted slope of each pattern."""
    text = ["| pattern | tokens | train ms | MB |", "|:--|--:|--:|--:|"]
    text += [f"| {pattern} | {length:,} | {ms:.2f} | {memory:.0f} |" for pattern, length, ms, memory in rows]
    for pattern in SWEPT:
        own = [row for row in rows if row.pattern == pattern]
        text += [f"\nSlope of {pattern}: {slope(own):.2f}"] if len(own) > 1 else []
    return "\n".join(text)


if __name__ == "__main__":
    main()
