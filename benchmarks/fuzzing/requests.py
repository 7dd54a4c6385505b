"""Requests to the page and the API of `serve`, byte by byte over a socket, with other values where a client has a say.

The server is real, in a thread of the process, with its reading processes. A request must be answered with JSON of a
4xx and a short reason, or as it should; or its connection ends, if it was no whole HTTP. Nothing of a file that it
names may be in the answer, and no file may be left. A token is wanted for a tenth of the requests; a fourth go to a
model of text and readings.
"""

import asyncio
import io
import json
import random
import re
import shutil
import socket
import tempfile
import threading
import time
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fuzzing import runs
from fuzzing._bytes import mutated

if TYPE_CHECKING:
    from sparsefuse.serve.admission import Admission

STARTS_OTHERS = True
TOKEN = "x" * 20
TIMEOUT = 15
"""seconds for a prediction, and for an explanation after it"""
WORDS = "words"
"""the server of text and readings"""
SECRET = "sparsefuse-fuzz-secret"
STATUSES = {200, 204, 308, 400, 401, 403, 404, 405, 408, 413, 415, 421, 422}


HEADERS = ("origin", "authorization", "transfer-encoding", "expect", "range", "upgrade", "connection")
HEADERS += ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix")
TEXTS = ("", " ", "*", "null", "-1", "0", "9" * 30, "1e3", "x" * 9000, "\0", "é\u202e", "a\rb", '"', "a;b=c", "/a/")
TEXTS += (
    "localhost:1",
    "evil.example",
    "http://evil.example",
    "http://localhost",
    "http://127.0.0.1:1/",
    "/etc/passwd",
)
TEXTS += ("chunked", "100-continue", "websocket", "Bearer x", f"Bearer {TOKEN}", "file", "rgb")
TEXTS += ("multipart/form-data", "multipart/form-data; boundary=", 'application/json; charset="x"')


class Answered(Exception):
    """The error that a request got, or none."""


EXPECTED = (Answered,)
_server: dict[str, int] = {}
_admissions: list[tuple[Path, "Admission"]] = []


def prepare() -> None:
    """Starts a server that wants no token, one that does, and one of a model that reads text and readings."""
    from sparsefuse.serve.access import Access
    from sparsefuse.serve.app import application
    from sparsefuse.serve.limits import ServeLimits
    from sparsefuse.serve.server import server_of
    from sparsefuse.serve.service import Service

    kinds = {"open": Access(behind_proxy=True), "closed": Access(token=TOKEN), WORDS: Access(behind_proxy=True)}
    for kind, access in kinds.items():
        folder = Path(tempfile.mkdtemp(prefix="sparsefuse-fuzzed-serve-"))
        run = _of_words(runs.base()) if kind == WORDS else runs.base() / "run"
        service = Service(run, ServeLimits(max_mb=1, max_seconds=5, concurrency=1, timeout=TIMEOUT), folder)
        listener = socket.create_server(("127.0.0.1", 0))
        server = server_of(application(service, access, page=True), service, "")
        threading.Thread(target=lambda s=server, at=listener: asyncio.run(s.serve([at])), daemon=True).start()
        while not server.started:
            time.sleep(0.05)
        _server[kind] = listener.getsockname()[1]
        _admissions.append((folder, service.admission))


def make(rng: random.Random, folder: Path) -> Path:
    """A request as bytes in a file, and a file that it may name."""
    (folder / "secret.wav").write_text(SECRET * 9)
    (folder / "secret.npy").write_text(SECRET * 9)
    (folder / "secret.txt").write_text(SECRET * 9)
    kind = "closed" if rng.random() < 0.1 else WORDS if rng.random() < 0.25 else "open"
    request = _request(rng, str(folder), kind == WORDS)
    if rng.random() < 0.4:
        request = mutated(rng, request)
    path = folder / kind
    path.write_bytes(request)
    return path


def attempt(path: Path) -> None:
    """Sends it, and looks at what comes back."""
    request = path.read_bytes()
    with socket.create_connection(("127.0.0.1", _server[path.name]), timeout=18) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has answered already
        answer = b""
        try:
            while part := connection.recv(1 << 16):
                answer += part
        except ConnectionError:
            pass
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert SECRET.encode() not in answer, "a file was read that the client only named"
    for folder, admission in _admissions:
        until = (
            time.monotonic() + 2 * TIMEOUT + 5
        )  # a clip is predicted and then explained, whether the client stays or not
        while admission.busy:
            assert time.monotonic() < until, f"the server is busy with a request that ended: {list(folder.iterdir())}"
            time.sleep(0.01)
        assert not list(folder.iterdir()), f"files are left: {list(folder.iterdir())}"
    if not answer:
        return  # its headers never ended
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status in STATUSES, f"{status} to {request[:300]!r}: {body[:300]!r}"
    assert path.name != "closed" or status != 200 or _needs_none(request), "an answer without the token"
    if status >= 400 and b"application/json" in head and not request.startswith(b"HEAD"):
        reason = json.loads(body[: int(re.search(rb"content-length: (\d+)", head)[1])])["error"]  # pyright: ignore
        raise Answered(reason)


def _needs_none(request: bytes) -> bool:
    """Whether the request is for a path that needs no token, or has it."""
    return TOKEN.encode() in request or re.match(rb"(GET|HEAD) /(health|page\.js|page\.css)?[ ?]", request) is not None


def _of_words(base: Path) -> Path:
    """The run, as one whose streams are made of a text `said` and of the readings `imu`."""
    run = shutil.copytree(base / "run", base / "run-of-words", dirs_exist_ok=True)
    facts = json.loads((run / "model.json").read_text())
    spec = {
        "rgb": {"extractor": "text", "source": "said", "hashed": 5},
        "sound": {"extractor": "series", "source": "imu"},
    }
    (run / "model.json").write_text(json.dumps(facts | {"extract": {"features": spec}}))
    return run


def _request(rng: random.Random, folder: str, words: bool) -> bytes:
    """One that the server would take, with up to three of its fields others."""
    path = rng.choice(["/predict"] * 4 + ["/explain", "/", "/page.js", "/card", "/health", "/metrics", "/openapi.json"])
    kind, body = _body(rng, folder, words)
    method = "POST" if path in ("/predict", "/explain") else rng.choice(["GET", "HEAD", "OPTIONS"])
    fields = {"host": "localhost", "content-type": kind, "content-length": str(len(body))}
    for _ in range(rng.choice((0, 0, 1, 3))):
        name = rng.choice([*fields, *HEADERS, "method", "path"])
        value = _text(rng, folder)
        method, path = (value if name == "method" else method), (value if name == "path" else path)
        fields |= {} if name in ("method", "path") else {name: value}
    lines = [f"{method} {path} HTTP/1.{rng.choice('1110')}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode("utf-8", "replace") + body


def _body(rng: random.Random, folder: str, words: bool) -> tuple[str, bytes]:
    """A content type and a body of it."""
    if words and rng.random() < 0.3:
        odd = rng.choice([None, 3, [], {}, "x" * 90_000, "\ud800", *[_text(rng, folder)] * 4])
        texts = rng.choice([{"said": odd}, {"said": odd, "rgb": odd}, {_text(rng, folder): odd}, odd])
        features = rng.choice([{}, {"sound": [[0.5] * 4] * 3}, {"said": odd}])
        return "application/json", json.dumps({"texts": texts, "features": features}).encode()
    if rng.random() < 0.4:
        features: object = {name: [[0.5] * width] * 3 for name, width in runs.WIDTHS.items()}
        for _ in range(rng.choice((0, 1, 2))):
            odd = rng.choice([None, {}, [], [[]], 1e999, -1, "x", {"path": f"{folder}/secret.npy"}, _text(rng, folder)])
            features = rng.choice(
                [odd, {_text(rng, folder): odd}, {"rgb": odd}, {"rgb": [[odd] * 5]}, {"sound": [odd]}]
            )
        return "application/json", json.dumps(rng.choice([features, {"features": features}])).encode()
    parts = b""
    for field, content, name in rng.sample(_words(folder) if words else _files(), rng.choice((1, 1, 2))):
        if rng.random() < 0.3:
            content = mutated(rng, content)
        field, name = (_text(rng, folder) if rng.random() < 0.2 else given for given in (field, name))
        named = f'; filename="{name}"' if name else ""  # without one it is a field of text
        parts += f'--b\r\ncontent-disposition: form-data; name="{field}"{named}\r\n\r\n'.encode()
        parts += content + b"\r\n"
    return "multipart/form-data; boundary=b", parts + b"--b--\r\n"


def _words(folder: str) -> list[tuple[str, bytes, str]]:
    """As `_files`, of the model that reads words and readings."""
    said = {"segments": [{"text": "a lovely day", "start": 0, "end": 2.5}, {"words": [{"word": "x", "start": 3}]}]}
    return [
        ("said", b"a lovely day", ""),
        ("said", f"{folder}/secret.txt".encode(), ""),
        ("rgb", "caf\u00e9 \u202e".encode(), "a.txt"),
        ("said", b"1\n00:00:01,000 --> 00:00:02,000\n<i>lovely</i>\n", "a.srt"),
        ("said", json.dumps(said).encode(), "a.json"),
        ("said", b"word,start,end\na,0,1\nday,1,2\n", "a.csv"),
        ("imu", b"x,y,z,w\n" + b"0.5,1.5,2.5,3.5\n" * 5, "b.csv"),
        ("file", b"x,y,z,w\n" + b"0.5,1.5,2.5,3.5\n" * 5, "c.csv"),
    ]


def _files() -> list[tuple[str, bytes, str]]:
    """Field, content, file name."""
    sound, rgb = io.BytesIO(), io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(0).integers(-9999, 9999, 8000, dtype=np.int16).tobytes())
    np.save(rgb, np.ones((3, 5), np.float32))
    return [
        ("sound", sound.getvalue(), "a.wav"),
        ("audio", sound.getvalue(), "b.wav"),
        ("rgb", rgb.getvalue(), "a.npy"),
    ]


def _text(rng: random.Random, folder: str) -> str:
    secret = f"{folder}/secret.{rng.choice(['wav', 'npy', 'txt'])}"
    return rng.choice([secret, f"file://{secret}", f"../../../../../..{secret}", f"rgb.npy#{secret}", *TEXTS])
