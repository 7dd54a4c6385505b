"""Mutated inputs, by the thousand: each must succeed, or fail with the library's own short error.

    python benchmarks/fuzz.py features --minutes 10     one target; the seed is printed
    python benchmarks/fuzz.py all --minutes 1           every target, a share of the time each; with a seed and --most,
                                                        which keep it the same on fast machines, the form of CI
    python benchmarks/fuzz.py features --seed 7 --only 123    one input again

A target is a file in benchmarks/fuzzing/ with
    EXPECTED                                 the types of error that an input may cost, exactly these, no subclass
    def make(rng, folder) -> Path            writes one input, a file or folder, into the empty folder
    def attempt(path) -> None                tries it, in a process of its own that lives on until it fails
and, if all inputs need something that takes long to make, `def prepare() -> None`, called first in that process; one
that starts processes of its own has a STARTS_OTHERS.

A finding is any other exception, a message of more than 1,000 characters, more than 1 GiB of memory above the size of
the input, more than 20 seconds of work or 200 of waiting, or the end of the process. Findings are kept with their
traceback, one of a kind. Exit code 1 if there is one.
"""

import argparse
import importlib
import multiprocessing
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from fuzzing import targets

MESSAGE = 1000
"""characters that an error may have"""
MEMORY = 1 << 30
"""bytes above the size of the input that a process may take"""
SECONDS = 20.0
"""of work; a busy machine takes longer"""
WAITING = 200.0
"""seconds by the clock"""
STOP = 3 << 30
"""bytes from which a process is ended at once"""
START = 600.0
"""seconds that a process may take to begin"""


class Outcome(NamedTuple):
    """Of one input."""

    problem: str
    """empty when all is as it should be"""
    text: str
    """error or traceback"""
    seconds: float = 0.0
    memory: int = 0
    """bytes above what the process had"""


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=["all", *targets()])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--most", type=int, default=sys.maxsize, help="inputs of a target")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--only", type=int, help="the number of one input")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "sparsefuse-fuzz")
    options = parser.parse_args()
    names = targets() if options.target == "all" else [options.target]
    print(f"seed {options.seed}, findings are kept in {options.keep}", flush=True)
    seconds = 60 * options.minutes / len(names)
    if options.only is not None:
        options.most = 1
    kinds = [run(name, seconds, options.most, options.seed, options.only, options.keep / name) for name in names]
    sys.exit(bool(sum(kinds)))


def run(name: str, seconds: float, most: int, seed: int, only: int | None, keep: Path) -> int:
    """Tries inputs for so long, `most` of them; returns the number of kinds of findings."""
    target = importlib.import_module(f"fuzzing.{name}")
    count, failed, kinds = 0, 0, Counter[str]()
    slowest = largest = Outcome("", "")
    with tempfile.TemporaryDirectory() as folder:
        child = Child(name)
        begin = time.monotonic()
        while (time.monotonic() - begin < seconds and count < most) or count == 0:
            number = count if only is None else only
            place = Path(folder) / "input"
            place.mkdir()
            path = target.make(random.Random(f"{seed}-{number}"), place)
            outcome = child.attempt(path)
            count += 1
            failed += bool(outcome.text)
            slowest = max(slowest, outcome, key=lambda one: one.seconds)
            largest = max(largest, outcome, key=lambda one: one.memory)
            if outcome.problem:
                kinds[outcome.problem] += 1
                if kinds[outcome.problem] == 1:
                    kept(keep, seed, number, place, outcome)
                if not child.lives():
                    child = Child(name)
            elif only is not None:
                print(outcome.text or "no error")
            shutil.rmtree(place)
        child.end()
    print(
        f"{name}: {count:,} inputs, {failed:,} refused, slowest {slowest.seconds:.2f} s, "
        f"most memory {largest.memory / 2**20:.0f} MiB above the input, {len(kinds)} kinds of findings",
        flush=True,
    )
    for problem, times in kinds.most_common():
        print(f"  {times} x {problem}", flush=True)
    return len(kinds)


def kept(keep: Path, seed: int, number: int, place: Path, outcome: Outcome) -> None:
    """Copies the input, and writes its error beside it."""
    there = keep / f"{seed}-{number}"
    shutil.copytree(place, there, dirs_exist_ok=True)
    (keep / f"{seed}-{number}.txt").write_text(f"{outcome.problem}\n\n{outcome.text}\n", errors="backslashreplace")


class Child:
    """A process that tries one input after the other."""

    def __init__(self, name: str) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        starts_others = hasattr(importlib.import_module(f"fuzzing.{name}"), "STARTS_OTHERS")
        spawn = multiprocessing.get_context("spawn")
        self._process = spawn.Process(target=_serve, args=(name, theirs), daemon=not starts_others)
        self._process.start()
        theirs.close()
        if not self._ours.poll(START):
            raise RuntimeError(f"target {name} did not begin within {START:g} s")
        self._ours.recv()

    def attempt(self, path: Path) -> Outcome:
        """Tries one input; ends the process if it takes too long or too much."""
        begin, worked = time.monotonic(), _work(self._process.pid)
        before = _memory(self._process.pid, "VmRSS")
        self._ours.send(path)
        while not self._ours.poll(0.02):
            seconds, waited = _work(self._process.pid) - worked, time.monotonic() - begin
            memory = _memory(self._process.pid, "VmRSS") - before
            if seconds > SECONDS or waited > WAITING or memory > STOP:
                self._process.kill()
                self._process.join()
                problem = "takes more than 3 GiB" if memory > STOP else f"takes longer than {SECONDS:g} s"
                return Outcome(problem, f"{problem}: {seconds:.0f} s of work, {waited:.0f} s", seconds, memory)
        try:
            outcome: Outcome = self._ours.recv()
        except EOFError:
            self._process.join()
            problem = f"ends the process, code {self._process.exitcode}"
            return Outcome(problem, problem, time.monotonic() - begin)
        size = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
        outcome = outcome._replace(memory=max(0, outcome.memory - size))
        if not outcome.problem and outcome.memory > MEMORY:
            outcome = outcome._replace(problem=f"takes more than {MEMORY / 2**30:g} GiB")
        return outcome

    def lives(self) -> bool:
        """Whether it can try another one."""
        return self._process.is_alive()

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()


def _serve(name: str, pipe: Connection) -> None:
    """The process: paths in, outcomes out."""
    target = importlib.import_module(f"fuzzing.{name}")
    getattr(target, "prepare", lambda: None)()
    pipe.send("ready")
    while True:
        path = pipe.recv()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: proc(5)
        before, begin = _memory("self", "VmRSS"), time.process_time()
        problem = text = ""
        try:
            target.attempt(path)
        except Exception as error:
            text = str(error)
            if type(error) not in target.EXPECTED:
                text = traceback.format_exc()
                last = traceback.extract_tb(error.__traceback__)[-1]
                problem = f"{type(error).__name__} in {Path(last.filename).name}, {last.name}"
            elif len(text) > MESSAGE:
                problem = f"message of more than {MESSAGE:,} characters: {re.sub(r'[^a-z ]', '', text[-60:])}"
        seconds, peak = time.process_time() - begin, _memory("self", "VmHWM")
        pipe.send(Outcome(problem, text[:100_000], seconds, peak - before))


def _work(process: object) -> float:
    """Seconds of the processor that a process has had; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime of proc(5)


def _memory(process: object, field: str) -> int:
    """Bytes of a process; 0 when it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    return 1024 * int(found[1]) if found else 0


if __name__ == "__main__":
    main()
