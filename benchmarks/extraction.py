"""How fast real films become features, against the bare decoder, and how much memory that takes.

    python benchmarks/extraction.py    writes results/benchmark-extraction/cpu-<cores>.{csv,md}

Both sides use as many processes, each started anew, in turns within one run. Needs ../shared/data, and psutil.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import psutil

from sparsefuse.features.extract import extract
from sparsefuse.files.rows import csv_text, write_table
from sparsefuse.files.whole import write_text
from sparsefuse.parallel.workers import cores, each

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SIZE = 224
VGGSOUND = 5
"""Times that the twelve films are listed: starting the processes, which takes seconds, must not be what is measured."""
FEATURES = {
    "picture": {"extractor": "frames", "source": "video", "size": [SIZE, SIZE], "gray": False, "dtype": "uint8"},
    "sound": {"extractor": "spectrogram", "source": "video"},
}
SMALL = {"picture": FEATURES["picture"] | {"size": [64, 64], "gray": True, "rate": 5}, "sound": FEATURES["sound"]}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grid", type=int, default=700, help="clips of GRID")
    parser.add_argument("--clips", type=int, default=5000, help="rows of the memory test; 0 = none")
    parser.add_argument("--rate", type=float, default=5.0, help="frames a second; 0 = all")
    parser.add_argument("--repeats", type=int, default=VGGSOUND, help="times that the twelve VGGSound films are listed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/benchmark-extraction"))
    options = parser.parse_args()
    grid = sorted((DATA / "grid/clips").glob("*.mp4"))[: options.grid]
    vggsound = sorted((DATA / "vggsound_samples/video").glob("*.mp4")) * options.repeats
    times = {
        "GRID": (len(grid), timed(grid, options.rounds, options.jobs, options.rate)),
        "VGGSound": (len(vggsound), timed(vggsound, options.rounds, options.jobs, options.rate)),
    }
    both = [Round(*map(sum, zip(*pair, strict=True))) for pair in zip(*(t for _, t in times.values()), strict=True)]
    times["both"] = (len(grid) + len(vggsound), both)
    lines: list[tuple[object, ...]] = [("what", "clips", *Round._fields, "throughput_ratio", "cpu_ratio")]
    for name, (count, rounds) in times.items():
        middle = [statistics.median(values) for values in zip(*rounds, strict=True)]
        wall = statistics.median(r.bare_seconds / r.extract_seconds for r in rounds)
        cpu = statistics.median(r.bare_cpu_seconds / r.extract_cpu_seconds for r in rounds)
        lines.append((name, count, *middle, wall, cpu))
    rows = [
        f"| {n} | {c} | {' | '.join(f'{t:.1f}' for t in t4)} | {w:.2f} | {p:.2f} |" for n, c, *t4, w, p in lines[1:]
    ]
    text = [
        "# benchmark-extraction",
        "",
        "| films | clips | bare decoder, s | extract, s | bare, CPU s | extract, CPU s | ratio | CPU ratio |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
        *rows,
        "",
        f"Spectrogram and {f'{options.rate:g} frames a second' if options.rate else 'every frame'} at {SIZE} x {SIZE}, "
        f"{options.jobs} processes, {cores()} cores, {options.rounds} rounds in turns; the bare decoder decodes both "
        "streams and scales as many frames. CPU time is that of all processes.",
    ]
    if options.clips:
        first, last = memory(grid, options.clips, options.jobs)
        text += [
            "",
            f"Memory over {options.clips} clips: {last / first:.3f} (peak of the last quarter, {last / 1e6:.0f} MB,",
        ]
        text[-1] += " of all processes, to that of the first)."
        lines.append(("memory", options.clips, first, last, last / first))
    write_text(options.out / f"cpu-{cores()}.csv", csv_text(lines))
    write_text(options.out / f"cpu-{cores()}.md", "\n".join([*text, ""]))
    print("\n".join(text))


class Round(NamedTuple):
    """What one round took."""

    bare_seconds: float
    extract_seconds: float
    bare_cpu_seconds: float
    extract_cpu_seconds: float


def timed(films: list[Path], rounds: int, jobs: int, rate: float) -> list[Round]:
    """The bare decoder and extraction, in turns."""
    found = []
    features = FEATURES | {"picture": FEATURES["picture"] | {"rate": rate or None}}
    with tempfile.TemporaryDirectory() as folder:
        manifest = listed(Path(folder), films, len(films))
        for turn in range(rounds):
            begin, begin_cpu = time.monotonic(), cpu_seconds()
            assert sum(count or 0 for _, count in each(partial(decode, rate=rate), films, jobs)) > 0
            middle, middle_cpu = time.monotonic(), cpu_seconds()
            with tempfile.TemporaryDirectory(dir=folder) as out:
                summary = extract(manifest, out, features=features, jobs=jobs, progress=False)
                end, end_cpu = time.monotonic(), cpu_seconds()
            assert summary.done == 2 * len(films), (turn, summary.skipped)
            found.append(Round(middle - begin, end - middle, middle_cpu - begin_cpu, end_cpu - middle_cpu))
    return found


def cpu_seconds() -> float:
    """Of this process and those that it has waited for."""
    return sum(os.times()[:4])


def decode(film: Path, rate: float) -> int:
    """Every frame of both streams; `rate` pictures a second (0 = all) are scaled and in RGB, and kept nowhere."""
    count = 0
    with av.open(str(film)) as container:
        for stream in container.streams:
            stream.codec_context.thread_count = 1
        scaler = av.video.reformatter.VideoReformatter()
        for packet in container.demux(video=0, audio=0):
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame) and (not rate or (frame.time or 0.0) >= count / rate):
                    count += 1
                    scaler.reformat(frame, width=SIZE, height=SIZE, format="rgb24", interpolation="AREA", threads=1)
    return count


def listed(folder: Path, films: list[Path], rows: int) -> Path:
    """A manifest of the films, again and again."""
    table = [{"id": f"{n:05d}", "video": str(films[n % len(films)]), "label": "x"} for n in range(rows)]
    return write_table(folder / "manifest.csv", table)


def memory(films: list[Path], rows: int, jobs: int) -> tuple[float, float]:
    """Peak bytes of all processes together, in the first and in the last quarter of the rows."""
    seen: list[tuple[float, float]] = []
    over = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        watcher = threading.Thread(target=watch, args=(Path(folder) / "out", rows, seen, over))
        watcher.start()
        extract(listed(Path(folder), films, rows), Path(folder) / "out", features=SMALL, jobs=jobs, progress=False)
        over.set()
        watcher.join()
    return max(b for done, b in seen if done <= 0.25), max(b for done, b in seen if done > 0.75)


def watch(out: Path, rows: int, seen: list[tuple[float, float]], over: threading.Event) -> None:
    """Notes (share of the shards that are written, bytes) five times a second."""
    process = psutil.Process()
    while not over.wait(0.2):
        total = 0
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        seen.append((64 * len(list((out / "sound").glob("[!.]*.safetensors"))) / rows, float(total)))


if __name__ == "__main__":
    main()
