"""Debian's chromium, driven over its own pipe (the DevTools protocol): no driver and no websocket is needed."""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
_FLAGS = "--headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-dev-shm-usage"
_FLAGS += " --use-fake-device-for-media-stream --use-fake-ui-for-media-stream --remote-debugging-pipe"

_AS_3_AND_4 = (
    "import os, sys; [os.dup2(int(sys.argv[i + 1]), 3 + i) for i in (0, 1)]; os.execv(sys.argv[3], sys.argv[3:])"
)


class Browser:
    """One page. Use it as a context manager."""

    def __init__(self, profile: Path, *, width: int = 1280, height: int = 900) -> None:
        assert CHROMIUM is not None, "no chromium"
        read_end, self._write = os.pipe()
        self._read, write_end = os.pipe()
        # The browser reads commands from file 3 and writes answers to file 4; high numbers do not meet these.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (read_end, write_end)]
        flags = [*_FLAGS.split(), f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _AS_3_AND_4, *map(str, theirs), CHROMIUM, *flags],
            pass_fds=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        for end in (read_end, write_end, *theirs):
            os.close(end)
        self._ids, self._buffer, self.events = itertools.count(1), b"", list[dict[str, Any]]()
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    _session = None

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its result; events that come meanwhile are kept."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(60)
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def _next(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has died"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def run(self, code: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, code: str, seconds: float = 40) -> None:
        """Waits until the expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"!!({code})"):
            assert time.monotonic() < end, f"not within {seconds} s: {code}; the page says: {self.text()}"
            time.sleep(0.1)

    def text(self) -> str:
        return self.run("document.body.innerText")

    def choose(self, selector: str, *files: Path) -> None:
        """Puts files into a file input, as a person would by its dialog."""
        self.wait(f"document.querySelector({json.dumps(selector)})")
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        node = found["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(file) for file in files], objectId=node)

    def asked(self) -> list[str]:
        """The addresses that the page has asked for."""
        self.run("1")
        sent = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def shoot(self, path: Path) -> None:
        """A picture of the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
