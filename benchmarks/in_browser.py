"""Exported models in a browser, beside the same files in Python: do they say the same, how long do they take?

    npm install --no-save --prefix examples/browser onnxruntime-web
    python benchmarks/in_browser.py RUN... [--manifest media.csv]    writes results/benchmark-browser/<browser>.{csv,md}

For every .onnx file in the export folder of each run, headless chromium gives the logits of real clips: of the run's
validation split, or where the model takes sound, of the manifest (16-bit .wav files are made of it). Browser and Python
(onnxruntime, one thread) run one clip in turns, so that whatever else the machine does slows both alike.
"""

import argparse
import gzip
import re
import statistics
import subprocess
import tempfile
import time
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from chromium import Chromium, binary, chromium, package
from sparsefuse.export import clips as sources
from sparsefuse.export.clips import ParityClip
from sparsefuse.export.program import Program
from sparsefuse.files.rows import csv_text
from sparsefuse.files.whole import read_json, write_text
from sparsefuse.inference.predictor import load

RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""What the page fetches of onnxruntime-web."""
RUNS = 10
"""Calls of a turn, of which the median counts."""


class Line(NamedTuple):
    """One file."""

    run: str
    file: str
    kilobytes: float
    clips: int
    difference: float
    """largest difference of any logit from Python's"""
    same_labels: int
    page_labels: int
    """clips of which the example's page shows Python's label; of the first few"""
    pages: int
    load_ms: float
    """from the address to a session, with the runtime if the page has not got it yet"""
    python_ms: float
    browser_ms: float
    ratio: float
    """browser's time over Python's, median over rounds"""


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--manifest", type=Path, help="clips with media files, for models that take sound")
    parser.add_argument("--clips", type=int, default=70, help="clips of each model, at most")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="of the browser")
    parser.add_argument("--out", type=Path, default=Path("results/benchmark-browser"))
    options = parser.parse_args()
    web, program = package(), binary()
    if web is None:
        parser.error("onnxruntime-web is not there: npm install --no-save --prefix examples/browser onnxruntime-web")
    if program is None:
        parser.error("no chromium is on the PATH")
    files = [(run, file) for run in options.runs for file in sorted((run / "export").glob("*.onnx"))]
    if not files:
        parser.error(f"nothing is exported in {', '.join(map(str, options.runs))}: sparsefuse export RUN")
    lines = []
    for run, file in files:
        with tempfile.TemporaryDirectory() as folder, chromium(Path(folder), threads=options.threads) as browser:
            given = clips_of(run, file, options.manifest)[: options.clips]
            lines.append(compared(run, file, given, Path(folder), browser, options.rounds))
    versions = said(program), read_json(web / "package.json")["version"]
    name = f"chromium{versions[0]}-onnxruntime-web{'.'.join(versions[1].split('.')[:2])}"
    text = markdown(lines, download(web), versions, options)
    write_text(options.out / f"{name}.csv", csv_text([Line._fields, *lines]))
    write_text(options.out / f"{name}.md", text)
    print(text)


def clips_of(run: Path, file: Path, manifest: Path | None) -> list[ParityClip]:
    """Real clips as the file takes them."""
    sound = any(given["kind"] == "sound" for given in read_json(file.with_suffix(".json"))["inputs"])
    predictor = load(run)
    program = Program(predictor, with_features=sound)
    if not sound:
        return sources.of_run(run, "valid", predictor, program.inputs).clips
    if manifest is None:
        raise SystemExit(f"{file} takes sound: give --manifest with media files")
    return sources.of_manifest(manifest, run, predictor, program.inputs).clips


def compared(run: Path, file: Path, clips: Sequence[ParityClip], folder: Path, browser: Chromium, rounds: int) -> Line:
    """One file, in both."""
    card = read_json(file.with_suffix(".json"))
    for name in (file.name, file.with_suffix(".json").name):
        (folder / name).write_bytes((file.parent / name).read_bytes())
    model = f"/files/{file.name}"
    fed = [written(clip, card, folder) for clip in clips]
    loading = browser.ask(do="load", model=model)
    session = opened(file)
    difference, same = 0.0, 0
    for feeds, urls in fed:
        ours = session.run(["logits"], feeds)[0][0]
        theirs = np.array(browser.ask(do="run", files=urls, runs=1)["logits"], np.float32)
        difference = max(difference, float(abs(ours - theirs).max()))
        same += int(card["task"] == "regression" or ours.argmax() == theirs.argmax())
    shown = fed[:3]
    pages = [browser.ask(do="page", model=model, files=urls)["label"] for _, urls in shown]
    right = [label_of(card, session.run(None, feeds)[0][0]) for feeds, _ in shown]
    middle = sorted(fed, key=lambda one: sum(x.size for x in one[0].values()))[len(fed) // 2]
    times = in_turns(session, browser, *middle, rounds)
    return Line(
        run=run.name,
        file=file.name,
        kilobytes=file.stat().st_size / 1e3,
        clips=len(fed),
        difference=difference,
        same_labels=same,
        page_labels=sum(a == b for a, b in zip(pages, right, strict=True)),
        pages=len(pages),
        load_ms=loading["ms"],
        python_ms=statistics.median(python for python, _ in times),
        browser_ms=statistics.median(theirs for _, theirs in times),
        ratio=statistics.median(theirs / python for python, theirs in times),
    )


def written(clip: ParityClip, card: dict[str, Any], folder: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What Python's session takes, and the addresses of the files of the same numbers."""
    feeds, urls = {}, {}
    for given in card["inputs"]:
        name, sound = given["name"], given["kind"] == "sound"
        x = clip.streams[name].numpy() if name in clip.streams else None
        if x is not None:
            file = folder / f"{clip.id}-{name}.{'wav' if sound else 'npy'}"
            if sound:
                x = (x * 32768).round().clip(-32768, 32767).astype("<i2")
                with wave.open(str(file), "wb") as out:
                    out.setparams((1, 2, given["rate"], len(x), "NONE", ""))
                    out.writeframes(x.tobytes())
                x = x.astype(np.float32) / 32768
            else:
                np.save(file, x)
            urls[name] = f"/files/{file.name}"
        empty = np.zeros((1,) if sound else (1, given["width"]), np.float32)
        feeds[name] = (empty if x is None else x)[None]
        feeds[given["length"]] = np.array([0 if x is None else len(x)])
    return feeds, urls


def opened(file: Path) -> onnxruntime.InferenceSession:
    """The file in Python, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def label_of(card: dict[str, Any], logits: np.ndarray) -> str:
    """What the page should show of one clip."""
    if card["task"] != "class":
        raise SystemExit(f"expected a model of one label among several; got the task {card['task']}")
    return card["labels"][logits.argmax()]


def in_turns(
    session: onnxruntime.InferenceSession,
    browser: Chromium,
    feeds: dict[str, np.ndarray],
    urls: dict[str, str],
    rounds: int,
) -> list[tuple[float, float]]:
    """Milliseconds of one clip in Python and in the browser, per round; the first rounds warm up."""
    times = []
    for _ in range(rounds + 2):
        python = []
        for _ in range(RUNS):
            start = time.perf_counter()
            session.run(["logits"], feeds)
            python.append(1e3 * (time.perf_counter() - start))
        theirs = browser.ask(do="run", files=urls, runs=RUNS)["times"]
        times.append((statistics.median(python), statistics.median(theirs)))
    return times[2:]


def download(web: Path) -> tuple[float, float]:
    """Megabytes of the runtime that a page fetches, as they are and as a server sends them (gzip)."""
    contents = [(web / "dist" / name).read_bytes() for name in RUNTIME]
    return sum(map(len, contents)) / 1e6, sum(len(gzip.compress(content)) for content in contents) / 1e6


def said(program: str) -> str:
    """The browser's version, its first number."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.\d", text)
    return found[1] if found else "?"


def markdown(
    lines: Sequence[Line], runtime: tuple[float, float], versions: tuple[str, str], options: argparse.Namespace
) -> str:
    """The table, and what was compared."""
    head = ["run", "file", "kB", "clips", "largest difference of a logit", "same label", "page right",
            "Python, ms", "browser, ms", "ratio"]  # fmt: skip
    rows = [
        (one.run, one.file, f"{one.kilobytes:.0f}", one.clips, f"{one.difference:.2g}",
         f"{one.same_labels} of {one.clips}", f"{one.page_labels} of {one.pages}",
         f"{one.python_ms:.2f}", f"{one.browser_ms:.2f}", f"{one.ratio:.2f}")
        for one in lines
    ]  # fmt: skip
    cells = [head, [":--", ":--", *["--:"] * (len(head) - 2)], *rows]
    table = "\n".join(f"| {' | '.join(map(str, row))} |" for row in cells)
    threads = f"{options.threads} thread{'s' * (options.threads > 1)}"
    return (
        f"# benchmark-browser\n\n{table}\n\n"
        f"Chromium {versions[0]} with onnxruntime-web {versions[1]} (wasm, {threads}) beside onnxruntime "
        f"{onnxruntime.__version__} in Python (one thread); one clip, {options.rounds} rounds in turns. "
        f"The page fetches {runtime[0]:.1f} MB of runtime, {runtime[1]:.1f} MB when gzipped, and the model.\n"
    )


if __name__ == "__main__":
    main()
