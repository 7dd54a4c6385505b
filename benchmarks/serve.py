"""A load test of `sparsefuse serve` on loopback: many clients at once, some of them broken, some killed, some hostile.

    python benchmarks/serve.py RUN ../shared/data/grid/clips --clips 40

RUN is a run whose features are made from media. Prints what came back, latencies, memory over time and what hostile
requests got; the exit code is 1 if an answer was wrong, a status was not as it should be, or memory grew by a tenth.
"""

import argparse
import http.client
import io
import itertools
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.inference.predictor import load

BOUNDARY = "load-test-boundary"
CLOSE = 1e-4
"""How far a probability may be from the predictor's own: batches round otherwise."""
WARM_UP = 0.2
"""Share of the requests after which memory is compared."""
TIMEOUT = 60
"""Seconds of the server's --timeout."""

SLACK = 5

_UPLOAD_SLOWLY = """
import socket, sys, time
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:
    s.sendall(b"POST /predict HTTP/1.1\\r\\nhost: x\\r\\ncontent-type: multipart/form-data; boundary=b\\r\\n"
              b"content-length: 9000000\\r\\n\\r\\n--b\\r\\n"
              b"content-disposition: form-data; name=file; filename=a.mp4\\r\\n\\r\\n")
    print("begun", flush=True)
    while True:
        s.sendall(bytes(1000)); time.sleep(0.01)
"""


class Request(NamedTuple):
    """A body to send, and what must come back."""

    what: str
    body: bytes
    expected: dict[str, float] | None
    """probabilities; None = a status from 400 to 499"""


class Seen(NamedTuple):
    """What came back."""

    what: str
    status: int
    seconds: float
    wrong: str


class Hostile(NamedTuple):
    """What a hostile request got."""

    what: str
    status: int
    """0 = the connection was closed without an answer"""
    seconds: float
    sent: int
    """bytes"""


class Outcome(NamedTuple):
    """What the load test found."""

    seen: list[Seen]
    hostile: list[Hostile]
    timeout: int
    """seconds that the server gives a request"""
    seconds: float
    memory: list[tuple[float, int]]
    """(share of the requests that were answered, bytes of the server and its processes)"""
    left: int
    """files in the server's folder afterwards"""
    alive: bool
    """whether it still answered after all of it"""
    exit_code: int
    exit_seconds: float
    survivors: int
    """its processes, and its folder, that outlived it"""

    @property
    def growth(self) -> float:
        """Memory in the last fifth, as a ratio to that in the fifth after the warm-up."""
        first = [size for share, size in self.memory if WARM_UP <= share < 2 * WARM_UP]
        last = [size for share, size in self.memory if share >= 1 - WARM_UP]
        return statistics.mean(last) / statistics.mean(first)

    def problems(self, *, growth: float = 1.1) -> list[str]:
        """What should not be."""
        found = [f"{one.what}: {one.wrong}" for one in self.seen if one.wrong]
        found += [f"{one.what} got {one.status}" for one in self.hostile if one.status and not 400 <= one.status < 500]
        found += [f"{one.what} took {one.seconds:.0f} s" for one in self.hostile if one.seconds > self.timeout + SLACK]
        if self.growth > growth:
            found.append(f"memory grew to {self.growth:.2f} of what it was")
        for name, value in (("files left", self.left), ("exit code", self.exit_code), ("survivors", self.survivors)):
            if value:
                found.append(f"{name}: {value}")
        return found if self.alive else [*found, "it no longer answered"]


def main(argv: list[str] | None = None) -> int:
    """Runs the test and prints the tables; gives the exit code."""
    parser = argparse.ArgumentParser(description="Load test of sparsefuse serve.")
    parser.add_argument("run", type=Path)
    parser.add_argument("media", type=Path, help="a folder of media files")
    parser.add_argument("--clips", type=int, default=40, help="how many of them are sent, in turns")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--broken", type=float, default=0.05, help="share of broken files")
    parser.add_argument("--kills", type=int, default=2, help="clients killed in the middle of an upload")
    parser.add_argument("--timeout", type=int, default=60, help="the server's, in seconds")
    parser.add_argument("--page", action="store_true", help="with the web page")
    given = parser.parse_args(argv)
    files = sorted(path for path in given.media.iterdir() if path.is_file())[: given.clips]
    outcome = load_test(
        given.run, files, clients=given.clients, requests=given.requests, broken=given.broken, kills=given.kills,
        timeout=given.timeout, page=given.page,
    )  # fmt: skip
    report(outcome)
    problems = outcome.problems()
    print("\n".join(problems[:20]) or "all as it should be")
    return int(bool(problems))


def load_test(
    run: Path,
    files: list[Path],
    *,
    clients: int,
    requests: int,
    broken: float,
    kills: int,
    timeout: int,
    page: bool,
) -> Outcome:
    """Starts a server whose requests have `timeout` seconds, sends everything, ends it."""
    good = _good(run, files)
    bad = itertools.cycle(_broken(files[0]))
    rng = random.Random(0)
    todo = [next(bad) if rng.random() < broken else good[i % len(good)] for i in range(requests)]
    with _server(run, timeout, page=page) as (process, port):
        memory: list[tuple[float, int]] = []
        seen: list[Seen] = []
        with _watching(process.pid, memory, lambda: len(seen) / requests):
            start = time.perf_counter()
            _send_all(port, todo, seen, clients, kills)
            seconds = time.perf_counter() - start
        hostile = _hostile(port, timeout + SLACK)
        with closing(_connection(port)) as connection:
            alive = _ask(connection, good[0]).wrong == ""
        folder = _folder(process.pid)
        left = len([path for path in folder.rglob("*") if path.is_file()])
        children = _children(process.pid)
        process.send_signal(signal.SIGTERM)
        before = time.perf_counter()
        code = process.wait(timeout=90)
        ended = time.perf_counter() - before
        time.sleep(1)  # Python's own helper process ends when it sees that the server has
        survivors = sum(map(_lives, children)) + folder.exists()
    return Outcome(seen, hostile, timeout, seconds, memory, left, alive, code, ended, survivors)


def report(outcome: Outcome) -> None:
    """Prints what was found."""
    times = sorted(1e3 * one.seconds for one in outcome.seen if one.status == 200)
    statuses = Counter(one.status for one in outcome.seen)
    print(
        f"{len(outcome.seen)} requests in {outcome.seconds:.1f} s ({len(outcome.seen) / outcome.seconds:.0f} a second)"
    )
    print("statuses: " + ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items())))
    print("good answers, ms: " + ", ".join(
        f"p{share} {times[min(len(times) - 1, int(len(times) * share / 100))]:.0f}" for share in (50, 90, 99)
    ))  # fmt: skip
    sizes = [size / 1e6 for share, size in outcome.memory if share >= WARM_UP]
    print(f"memory after warm-up, MB: {min(sizes):.0f} to {max(sizes):.0f}; last fifth / first: {outcome.growth:.3f}")
    print(f"files left: {outcome.left}; exit code {outcome.exit_code} after {outcome.exit_seconds:.1f} s")
    print("\n| hostile request | status | s | MB sent |\n|:--|--:|--:|--:|")
    for one in outcome.hostile:
        print(f"| {one.what} | {one.status or 'closed'} | {one.seconds:.1f} | {one.sent / 1e6:.1f} |")
    print()


def _form(name: str, content: bytes, field: str = "file") -> bytes:
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def _good(run: Path, files: list[Path]) -> list[Request]:
    predictor = load(run)
    return [
        Request("good", _form("clip.mp4", file.read_bytes()), predictor.predict_one(file).probabilities)
        for file in files
    ]


def _broken(file: Path) -> list[Request]:
    whole = file.read_bytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writing:
        writing.writestr("a.txt", "hello" * 100)
    nan = io.BytesIO()
    np.save(nan, np.full((5, 7), np.nan, np.float32))
    bodies = {
        "empty": _form("a.mp4", b""),
        "text as mp4": _form("a.mp4", b"hello\n" * 50),
        "zip as mp4": _form("a.mp4", archive.getvalue()),
        "HTML as mp4": _form("a.mp4", b"<!doctype html><html><script>alert(1)</script></html>" * 20),
        "half an mp4": _form("a.mp4", whole[: len(whole) // 2]),
        "noise as mp4": _form("a.mp4", random.Random(1).randbytes(20_000)),
        "playlist as mp4": _form("a.mp4", f"#EXTM3U\n#EXTINF:3,\n{file.resolve()}\n#EXT-X-ENDLIST\n".encode()),
        "path as name": _form("../../etc/a.mp4", whole),
        "unknown field": _form("a.mp4", whole, "vidoe"),
        "wrong npy": _form("a.npy", nan.getvalue()),
        "form cut short": _form("a.mp4", whole)[:-20],
    }
    return [Request(what, body, None) for what, body in bodies.items()]


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=90)


def _ask(connection: http.client.HTTPConnection, request: Request) -> Seen:
    start = time.perf_counter()
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    try:
        connection.request("POST", "/predict", request.body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        connection.close()
        return Seen(request.what, 0, time.perf_counter() - start, repr(error))
    return Seen(request.what, response.status, time.perf_counter() - start, _wrong(request, response.status, answer))


def _wrong(request: Request, status: int, answer: dict) -> str:
    if request.expected is None:
        return "" if 400 <= status < 500 and answer.get("error") else f"got {status} {answer}"
    if status != 200:
        return f"got {status} {answer}"
    found = answer["probabilities"]
    likeliest = max(request.expected, key=lambda name: request.expected[name])
    far = max(abs(found[name] - value) for name, value in request.expected.items())
    return "" if answer["label"] == likeliest and far <= CLOSE else f"{found} is not {request.expected}"


def _send_all(port: int, todo: list[Request], seen: list[Seen], clients: int, kills: int) -> None:
    waiting = iter(todo)
    lock = threading.Lock()

    def client() -> None:
        with closing(_connection(port)) as connection:
            while True:
                with lock:
                    request = next(waiting, None)
                if request is None:
                    return
                seen.append(_ask(connection, request))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for kill in range(kills):
        while len(seen) < (kill + 1) * len(todo) // (kills + 1):
            time.sleep(0.01)
        uploading = subprocess.Popen([sys.executable, "-c", _UPLOAD_SLOWLY, str(port)], stdout=subprocess.PIPE)
        assert uploading.stdout is not None
        uploading.stdout.readline()
        time.sleep(0.2)
        uploading.kill()
        uploading.communicate()
    for thread in threads:
        thread.join()


def _hostile(port: int, patience: float) -> list[Hostile]:
    """All at once, each by hand, so that it can be as wrong as it likes."""
    post = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=b\r\n"
    part = b"--b\r\ncontent-disposition: form-data; name=file; filename=a.mp4\r\n\r\n"
    chunked = post + b"transfer-encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n" % (len(part), part)
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    todo: dict[str, dict[str, Any]] = {
        "10 GB header": {"first": post + b"content-length: 10000000000\r\n\r\n" + part},
        "endless stream": {"first": chunked, "more": chunk},
        "slow body": {"first": chunked, "more": b"1\r\nx\r\n", "pause": 1.0},
        "silent body": {"first": chunked},
        "slow headers": {"first": b"POST /pre", "more": b"d", "pause": 1.0},
        "no HTTP": {"first": bytes(range(256)) * 8 + b"\r\n\r\n"},
        "huge header": {"first": post + b"x: " + b"y" * 200_000 + b"\r\n\r\n"},
    }
    with ThreadPoolExecutor(len(todo)) as threads:
        begun = [threads.submit(_by_hand, port, patience, what, **how) for what, how in todo.items()]
        return [one.result() for one in begun]


def _by_hand(port: int, patience: float, what: str, first: bytes, *, more: bytes = b"", pause: float = 0.0) -> Hostile:
    """Sends `first`, then `more` again and again with pauses, until there is an answer."""
    start, sent, answer, left = time.perf_counter(), 0, b"", first
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setblocking(False)
        while not answer and time.perf_counter() - start < 2 * patience:
            try:
                if left:
                    count = connection.send(left)
                    sent, left = sent + count, left[count:]
                answer = connection.recv(4096)
                break  # an answer, or the end of the connection
            except BlockingIOError:
                time.sleep(pause or (0.0 if more else 0.05))
                left = left or more
            except OSError:
                break  # closed on us
    status = int(answer.split()[1]) if answer.startswith(b"HTTP/") else 0
    return Hostile(what, status, time.perf_counter() - start, sent)


@contextmanager
def _server(run: Path, timeout: int, *, page: bool) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "sparsefuse", "serve", str(run), "--port", "0", "--timeout", str(timeout)]
    process = subprocess.Popen(
        [*command, *([] if page else ["--no-page"])],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"answers on http://[\d.]+:(\d+)", line):
                break
        else:
            raise RuntimeError("".join(lines))
        listening = threading.Thread(target=_pass_on, args=(process.stderr,), daemon=True)
        listening.start()
        yield process, int(found[1])
        process.kill()
        listening.join()
    finally:
        process.kill()
        process.communicate()


def _pass_on(lines: Iterator[str]) -> None:
    for line in lines:
        sys.stderr.write(f"server: {line}")


@contextmanager
def _watching(pid: int, memory: list[tuple[float, int]], share: Callable[[], float]) -> Iterator[None]:
    """Notes the memory of a process and its children, ten times a second."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            memory.append((share(), sum(map(_resident, [pid, *_children(pid)]))))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _lives(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()  # not a dead one that nobody has asked after


def _resident(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    found = re.search(r"VmRSS:\s+(\d+)", text)
    return int(found[1]) * 1024 if found else 0


def _folder(pid: int) -> Path:
    """The server's own folder, which its name tells."""
    mine = [
        path for path in Path(tempfile.gettempdir()).glob("sparsefuse-serve-*") if path.name.split("-")[2] == str(pid)
    ]
    assert len(mine) == 1, mine
    return mine[0]


if __name__ == "__main__":
    raise SystemExit(main())
