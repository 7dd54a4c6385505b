"""Requests that are too large, too slow or too curious end before the application."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sparsefuse.serve.guard import Guard
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.numbers import Numbers
from sparsefuse.serve.uploads import Uploads

LIMITS = ServeLimits(max_mb=0.001, timeout=0.1)


class Exchange:
    """One request to a guard, part by part; after the parts, the client is silent, or gone if the last is None."""

    def __init__(
        self,
        path: str = "/predict",
        *,
        method: str = "POST",
        parts: tuple[bytes | None, ...] = (b"",),
        whole: bool = True,
        **headers: str,
    ):
        self.method = method
        self.parts, self.whole, self.path = list(parts), whole, path
        self.headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.sent: list[Any] = []
        self.body = b""
        self.reached = False

    async def receive(self) -> dict[str, Any]:
        if not self.parts:
            await asyncio.sleep(30)
        part = self.parts.pop(0)
        if part is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(self.parts) or not self.whole}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Reads all of the body, as an application that answers 200 whatever happens."""
        self.reached = True
        try:
            while (message := await receive())["type"] == "http.request":
                self.body += message["body"]
                if not message["more_body"]:
                    break
            else:
                return
        except Exception:
            self.body = b"swallowed"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})

    def run(
        self, *, uploads: Uploads | None = None, draining: bool = False, limits: ServeLimits = LIMITS
    ) -> "Exchange":
        self.numbers = Numbers()
        guard = Guard(self.app, limits, self.numbers, uploads=uploads, draining=lambda: draining)
        scope = {"type": "http", "path": self.path, "method": self.method, "headers": self.headers}
        asyncio.run(guard(scope, self.receive, self.send))
        return self

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def answer(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def closes(self) -> bool:
        return (b"connection", b"close") in self.sent[0]["headers"]


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsefuse.serve.guard.LINGER", 0.05)


def test_a_request_within_limits_passes_unchanged() -> None:
    found = Exchange(parts=(b"ab", b"c"), content_length="3").run()
    assert (found.status, found.body, found.answer) == (200, b"abc", b"fine")
    assert not found.closes


def test_a_header_that_says_too_much_is_refused_before_the_application() -> None:
    found = Exchange(content_length="10000000000").run()
    assert (found.status, found.reached) == (413, False)
    assert json.loads(found.answer) == {"error": "the request has 10000.0 MB; the limit is 0.001 MB"}
    assert found.closes


def test_a_stream_is_cut_where_it_passes_the_limit() -> None:
    found = Exchange(parts=(bytes(600),) * 9, transfer_encoding="chunked").run()
    assert (found.status, found.body) == (413, b"swallowed")
    assert b"fine" not in found.answer


def test_a_stream_just_within_the_limit_passes() -> None:
    assert Exchange(parts=(bytes(600), bytes(400)), transfer_encoding="chunked").run().status == 200


def test_a_body_that_stops_coming_is_refused() -> None:
    found = Exchange(parts=(b"a",), whole=False, content_length="50").run()
    assert found.status == 408
    assert b"did not arrive in time" in found.answer


def test_a_client_that_leaves_is_counted_and_gets_nothing() -> None:
    found = Exchange(parts=(b"a", None), content_length="50").run()
    assert found.sent == []
    assert 'requests_total{path="/predict",status="499"} 1' in found.numbers.text()


def test_a_refused_client_has_time_to_read_why() -> None:
    """The answer goes out whole, and the connection ends only after what the client still sends."""
    found = Exchange(parts=(b"x",) * 5, content_length="10000000000").run()
    assert [message.get("more_body", False) for message in found.sent[1:]] == [True, False]
    assert found.parts == []


def test_a_server_about_to_end_takes_no_more_but_says_so() -> None:
    assert Exchange().run(draining=True).status == 503
    assert Exchange("/health").run(draining=True).status == 200


def test_without_a_page_only_the_api_is_there() -> None:
    for path in ("/", "/config", "/gradio_api/upload", "/etc/passwd"):
        assert Exchange(path).run().status == 404


def test_of_files_only_uploads_are_served(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "page", most=1000, places=1)
    (tmp_path / "secret").write_text("x")
    (uploads.folder / "link").symlink_to(tmp_path / "secret")
    (uploads.folder / "mine.mp4").write_text("x")

    def status(path: str) -> int:
        return Exchange(f"/gradio_api/file={path}").run(uploads=uploads).status

    assert status(f"{uploads.folder}/mine.mp4") == 200
    wrong = ["/etc/passwd", f"{tmp_path}/secret", f"{uploads.folder}/../secret", f"{uploads.folder}/link", "secret"]
    wrong += ["http://127.0.0.1/", "https://example.com/a.mp4", f"{uploads.folder}/%2e%2e/secret", "", "//etc/passwd"]
    assert {path: status(path) for path in wrong} == dict.fromkeys(wrong, 404)


@pytest.mark.parametrize(
    "path", ["/gradio_api/proxy=http://127.0.0.1/", "/monitoring", "/gradio_api/run/predict", "/login"]
)
def test_the_page_has_no_more_routes_than_it_needs(path: str, tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, most=1000, places=1)
    assert Exchange("/").run(uploads=uploads).status == 200
    assert Exchange(path).run(uploads=uploads).status == 404


def test_only_what_carries_clips_may_be_large(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, most=10**9, places=1)
    for path, status in {"/predict": 200, "/gradio_api/upload": 200, "/gradio_api/queue/join": 413}.items():
        assert Exchange(path, content_length="2000000").run(uploads=uploads, limits=ServeLimits()).status == status, (
            path
        )


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
def test_a_wrong_method_never_reaches_the_page(method: str, tmp_path: Path) -> None:
    """Whose router would say that there is no such place."""
    found = Exchange(method=method).run(uploads=Uploads(tmp_path, most=1000, places=1))
    assert (found.status, found.reached) == (405, False)
    assert f"takes POST, not {method}".encode() in found.answer
