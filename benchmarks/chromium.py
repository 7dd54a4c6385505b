"""A headless chromium that works on tasks: a task in, what the page benchmarks/in_browser.html answers out.

Page and server talk by plain HTTP: the page asks /task for the next, and posts to /answer. So Python and the browser
can be measured in turns.
"""

import functools
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples" / "browser"
MODULES = "node_modules/onnxruntime-web"
PATIENCE = 120
"""Seconds that a task may take."""


class Chromium:
    """A page that works on one task after the other."""

    def __init__(self, process: "subprocess.Popen[bytes]", tasks: "queue.Queue[Any]", answers: "queue.Queue[Any]"):
        self._process, self._tasks, self._answers = process, tasks, answers

    def ask(self, **task: Any) -> dict[str, Any]:
        """The page's answer. Raises RuntimeError if it fails or stays silent."""
        self._tasks.put(task)
        try:
            answer = self._answers.get(timeout=PATIENCE)
        except queue.Empty:
            code = self._process.poll()
            state = "still runs" if code is None else f"ended with code {code}"
            raise RuntimeError(f"no answer to {task} in {PATIENCE} s; chromium {state}") from None
        if "error" in answer:
            raise RuntimeError(f"the page failed at {task}: {answer['error']}")
        return answer


def package() -> Path | None:
    """The folder of onnxruntime-web: what ONNXRUNTIME_WEB says, or what npm put beside the example; None without."""
    folder = Path(os.environ.get("ONNXRUNTIME_WEB") or EXAMPLE / MODULES)
    return folder if (folder / "package.json").is_file() else None


def binary() -> str | None:
    """The browser; None without."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium(folder: Path, *, threads: int = 1) -> Iterator[Chromium]:
    """The browser, open, on a server that has the example, onnxruntime-web, and the files of `folder` under /files/."""
    program, web = binary(), package()
    if program is None or web is None:
        raise FileNotFoundError(f"chromium: {program}, onnxruntime-web: {web}; see docs/deploy.md")
    tasks: queue.Queue[Any] = queue.Queue()
    answers: queue.Queue[Any] = queue.Queue()
    handler = functools.partial(_Handler, tasks=tasks, answers=answers, web=web, files=folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        page = f"http://127.0.0.1:{server.server_port}/in_browser.html?threads={threads}"
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
        process = subprocess.Popen([program, *options, page], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield Chromium(process, tasks, answers)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            server.shutdown()
            server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, tasks: "queue.Queue[Any]", answers: "queue.Queue[Any]", web: Path, files: Path):
        self.tasks, self.answers, self.web, self.files = tasks, answers, web, files
        super().__init__(*args, directory=str(EXAMPLE))

    def do_GET(self) -> None:
        if self.path != "/task":
            super().do_GET()
            return
        body = json.dumps(self.tasks.get()).encode()
        self._say(body)

    def do_POST(self) -> None:
        self.answers.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self._say(b"{}")

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def translate_path(self, path: str) -> str:
        path = path.split("?")[0]
        if path == "/in_browser.html":
            return str(HERE / "in_browser.html")
        for prefix, folder in ((f"/{MODULES}/", self.web), ("/files/", self.files)):
            if path.startswith(prefix):
                return str(folder / path.removeprefix(prefix))
        return super().translate_path(path)

    def end_headers(self) -> None:
        # What lets a page have threads, and a finer clock.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""
