"""Requests that are too large, too slow or too curious end before the application."""

import asyncio
import json
from typing import Any

import pytest

from sparsefuse.serve.access import Access
from sparsefuse.serve.guard import API, Guard
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.numbers import Numbers

LIMITS = ServeLimits(max_mb=0.001, timeout=0.1)

ANYONE = Access()


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
        headers = {"host": "localhost", **headers}
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
        self.reached, self.scope = True, scope
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
        self, *, access: Access = ANYONE, page: bool = False, draining: bool = False, limits: ServeLimits = LIMITS
    ) -> "Exchange":
        self.numbers = Numbers()
        methods = API | ({"/": "GET"} if page else {})
        guard = Guard(self.app, methods, limits, self.numbers, access, draining=lambda: draining)
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
    def sent_headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

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
    assert Exchange("/health", method="GET").run(draining=True).status == 200


def test_without_a_page_only_the_api_is_there() -> None:
    for path in ("/", "/page.js", "/etc/passwd", "/predict/", "//health", "http://localhost/health", "*"):
        assert Exchange(path, method="GET").run().status == 404
    assert Exchange("/", method="GET").run(page=True).status == 200


def test_only_what_carries_clips_may_be_large() -> None:
    for path, status in {"/predict": 200, "/explain": 200, "/card": 413, "/metrics": 413}.items():
        method = API[path]
        assert Exchange(path, method=method, content_length="2000000").run(limits=ServeLimits()).status == status, path


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "A" * 10**6])
def test_a_wrong_method_never_reaches_the_application(method: str) -> None:
    found = Exchange(method=method).run()
    assert (found.status, found.reached) == (405, False)
    assert b"takes POST, not " in found.answer
    assert len(found.answer) < 200


def test_options_says_what_a_path_takes_without_the_application() -> None:
    found = Exchange(method="OPTIONS").run()
    assert (found.status, found.reached, found.answer) == (204, False, b"")
    assert found.sent_headers["allow"] == "POST, OPTIONS"
    assert "access-control-allow-methods" not in found.sent_headers
    assert Exchange("/card", method="OPTIONS").run().sent_headers["allow"] == "GET, HEAD, OPTIONS"


def test_a_page_of_an_allowed_origin_may_ask_and_read_refusals_too() -> None:
    access = Access(allow_origins=("https://example.org",), token="secret")
    preflight = Exchange(method="OPTIONS", origin="https://example.org").run(access=access)
    assert preflight.status == 204
    assert preflight.sent_headers["access-control-allow-origin"] == "https://example.org"
    assert preflight.sent_headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert preflight.sent_headers["access-control-allow-headers"] == "authorization, content-type"
    refused = Exchange(origin="https://example.org").run(access=access)
    assert refused.status == 401
    assert refused.sent_headers["access-control-allow-origin"] == "https://example.org"
    assert refused.sent_headers["vary"] == "origin"


def test_a_page_of_another_origin_gets_nothing() -> None:
    for method in ("POST", "OPTIONS"):
        found = Exchange(method=method, origin="https://evil.example").run(access=Access())
        assert (found.status, found.reached) == (403, False)
        assert "access-control-allow-origin" not in found.sent_headers


def test_all_but_the_pages_own_files_and_health_want_the_token() -> None:
    access = Access(token="secret")
    for path, method in {**API, "/": "GET"}.items():
        open_to_all = path in ("/", "/health")
        assert Exchange(path, method=method).run(access=access, page=True).reached == open_to_all, path
        right = Exchange(path, method=method, authorization="Bearer secret").run(access=access, page=True)
        assert right.reached, path
    found = Exchange().run(access=access)
    assert (found.status, found.sent_headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("path", ["/models/a/card", "/card"])
def test_below_a_base_path_a_proxy_may_cut_it_or_not(path: str) -> None:
    found = Exchange(path, method="GET").run(access=Access(base_path="/models/a"))
    assert (found.status, found.scope["path"], found.scope["root_path"]) == (200, "/card", "/models/a")


def test_the_base_path_alone_leads_to_the_page() -> None:
    """Whose own addresses are relative: they need the slash."""
    found = Exchange("/models/a", method="GET").run(access=Access(base_path="/models/a"), page=True)
    assert (found.status, found.sent_headers["location"]) == (308, "/models/a/")
    assert Exchange("/models/ab/card", method="GET").run(access=Access(base_path="/models/a")).status == 404


def test_what_a_proxy_says_counts_only_behind_one() -> None:
    said = {"x_forwarded_for": "6.6.6.6, 10.0.0.7", "x_forwarded_proto": "https", "x_forwarded_prefix": "/a"}
    plain = Exchange("/card", method="GET", **said).run().scope
    assert (plain["scheme"], plain["root_path"], plain["client"][0]) == ("http", "", "")
    behind = Exchange("/card", method="GET", **said).run(access=Access(behind_proxy=True)).scope
    assert (behind["scheme"], behind["root_path"], behind["client"][0]) == ("https", "/a", "10.0.0.7")


def test_no_answer_may_be_framed_sniffed_or_kept() -> None:
    for exchange in (Exchange("/card", method="GET"), Exchange("/nothing"), Exchange(origin="null")):
        headers = exchange.run().sent_headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
