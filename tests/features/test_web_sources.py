"""Films that a web server gives: whole, in pieces, cut short, or not at all."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from sparsefuse.data.arrays import read_array
from sparsefuse.features.extract import extract
from sparsefuse.media import write_clip

pytest.importorskip("fsspec", reason="needs fsspec")
pytest.importorskip("aiohttp", reason="needs aiohttp, with which fsspec reads http://")

PICTURE = {"extractor": "frames", "source": "video", "rate": 2, "size": [2, 4]}
FREE = (
    (7 << 20).to_bytes(4, "big") + b"free" + bytes((7 << 20) - 8)
)  # a box that players pass over; fsspec asks for 5 MB


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 1 s and 7 MB."""
    path = tmp_path_factory.mktemp("web") / "a.mp4"
    pixels = np.random.default_rng(0).integers(0, 255, (10, 16, 32, 3), dtype=np.uint8)
    write_clip(path, pixels, fps=10)
    path.write_bytes(path.read_bytes() + FREE)
    return path


@pytest.fixture(params=["whole", "pieces"])
def server(request: pytest.FixtureRequest, film: Path) -> Iterator[str]:
    """The address of one that gives pieces of a file when it is asked for them, or of one that cannot."""
    body = film.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            if "gone" in self.path:
                self.send_error(404)
                return
            first, last = 0, len(body) - 1
            if request.param == "pieces" and (asked := self.headers.get("Range")):
                first, last = (int(number) for number in asked.split("=")[1].split("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
            else:
                self.send_response(200)
            if request.param == "pieces":
                self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            if self.command == "GET":
                end = (first + last) // 2 if "cut" in self.path else last + 1
                self.wfile.write(body[first:end])
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_what_the_web_does_not_give_costs_one_clip(server: str, film: Path, tmp_path: Path) -> None:
    rows = [f"good,{server}/a.mp4", f"gone,{server}/gone.mp4", f"cut,{server}/cut.mp4", f"here,{film}"]
    (tmp_path / "m.csv").write_text("\n".join(["id,video", *rows]))
    done = extract(tmp_path / "m.csv", tmp_path / "out", features={"picture": PICTURE}, jobs=1, progress=False)
    read = [read_array(f"picture/00000.safetensors#{name}", tmp_path / "out") for name in ("good", "here")]
    np.testing.assert_array_equal(*read)
    reasons = {skip.id: skip.reason for skip in done.skipped}
    assert list(reasons) == ["gone", "cut"]
    assert reasons["gone"].startswith(f"{server}/gone.mp4: cannot be fetched (FileNotFoundError")
    assert reasons["cut"].startswith(f"{server}/cut.mp4: cannot be fetched (")
    size = film.stat().st_size
    assert f"received {(size - 1) // 2} of {size} bytes" in reasons["cut"]
    assert not list((tmp_path / "out").glob(".fetched"))
    again = extract(tmp_path / "m.csv", tmp_path / "out", features={"picture": PICTURE}, jobs=1, progress=False)
    assert (again.done, again.reused) == (0, 2)
