"""ASGI middleware that refuses requests that are too large, too slow or outside the allowed paths."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from typing import Any
from urllib.parse import unquote

from sparsefuse.serve.limits import JSON_MB, ServeLimits
from sparsefuse.serve.numbers import Numbers
from sparsefuse.serve.refusal import ClientGone, Refusal
from sparsefuse.serve.uploads import Uploads

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LINGER = 2.0
"""Seconds for which a refused client's body is still read, so that it gets the reason before the connection closes."""
PATHS = ("/predict", "/health", "/card", "/metrics", "/openapi.json")
UPLOAD = "/gradio_api/upload"
_FILE = "/gradio_api/file="
# The paths that the page uses. Gradio has more routes, among them two that fetch any address of the internet.
_PAGE = ("/config", "/theme.css", "/favicon.ico", "/manifest.json", UPLOAD)
_PAGE_FOLDERS = ("/assets/", "/static/", "/svelte/", "/gradio_api/queue/", "/gradio_api/heartbeat/")
_PAGE_FOLDERS += ("/gradio_api/upload_progress", "/gradio_api/info", "/gradio_api/app_id", "/gradio_api/startup-events")
_PAGE_FOLDERS += ("/gradio_api/reset", "/gradio_api/cancel")
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # The page works offline, and sends nothing about its clips elsewhere.
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
        b"connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
        b"frame-ancestors 'self'",
    ),
]


class Guard:
    """Wraps the application; `draining()` is whether the server is shutting down."""

    def __init__(
        self, app: App, limits: ServeLimits, numbers: Numbers, *, uploads: Uploads | None, draining: Callable[[], bool]
    ) -> None:
        self.app, self.limits, self.numbers = app, limits, numbers
        self.uploads, self.draining = uploads, draining

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = _Visit(self.limits, scope, receive, send)
        try:
            self._check(scope)
            visit.check_size()
            with self.uploads.arriving() if self.uploads and scope["path"] == UPLOAD else nullcontext():
                await self.app(scope, visit.receive, visit.send)
        except Refusal as refusal:
            visit.refusal = visit.refusal or refusal
        except Exception:  # expected after a refusal, or when the client left
            if visit.refusal is None and not visit.gone:
                raise
        finally:
            if visit.refusal is not None and not visit.answered:
                await visit.refuse(visit.refusal)
            label = scope["path"] if scope["path"] in PATHS else "page"
            self.numbers.request(label, visit.status, time.monotonic() - visit.began)

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        """Raises Refusal for a path or method that is not served."""
        path = scope["path"]
        if self.draining() and path not in ("/health", "/metrics"):
            raise Refusal(503, "the server is shutting down", retry_after=5)
        if path == "/predict" and scope["method"] != "POST":
            raise Refusal(405, f"/predict takes POST, not {scope['method'][:20]}, with a clip: see /openapi.json")
        if path in PATHS:
            return
        if self.uploads is None or not (path == "/" or path in _PAGE or self._is_page(path)):
            raise Refusal(404, f"there is no {path[:80]!r} here; see /openapi.json")

    def _is_page(self, path: str) -> bool:
        if path.startswith(_FILE):  # only uploaded files
            assert self.uploads is not None, "the page has a folder"
            return self.uploads.holds(unquote(path.removeprefix(_FILE)))
        return path.startswith(_PAGE_FOLDERS)


class _Visit:
    """One request: limits the body, and completes the headers of the response."""

    def __init__(self, limits: ServeLimits, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self.began = time.monotonic()
        self.status = 499  # of a client that left before a response
        self.refusal: Refusal | None = None
        self.answered = self.gone = False
        self._limits, self._receive, self._send = limits, receive, send
        self._headers = {name.lower(): value for name, value in scope["headers"]}
        self._page = scope["path"] not in PATHS
        carries_clip = scope["path"] in ("/predict", UPLOAD)
        self._most = limits.max_bytes if carries_clip else min(limits.max_bytes, int(JSON_MB * 1e6))
        self._size = 0
        self._complete = b"transfer-encoding" not in self._headers and self._stated() == 0

    def _stated(self) -> int:
        text = self._headers.get(b"content-length", b"0")
        return int(text) if text.isdigit() else 0

    def check_size(self) -> None:
        """Raises Refusal for a Content-Length that is too large, before the body is read."""
        if self._stated() > self._most:
            raise self._too_large(f"{self._stated() / 1e6:.1f} MB")

    def _too_large(self, what: str) -> Refusal:
        return Refusal(413, f"the request has {what}; the limit is {self._most / 1e6:g} MB")

    async def receive(self) -> Message:
        """The next part of the body. Raises Refusal for one that is too large or too slow."""
        if self._complete:
            return await self._receive()
        left = self.began + self._limits.timeout - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(left, self._limits.idle))):
                message = await self._receive()
        except TimeoutError:
            slow = f"{self._limits.idle:g} s passed without a byte" if left > self._limits.idle else "it took too long"
            self.refusal = Refusal(408, f"the request did not arrive in time: {slow}")
            raise self.refusal from None
        if message["type"] == "http.disconnect":
            self.gone = True
            return message
        self._size += len(message.get("body", b""))
        if self._size > self._most:
            self.refusal = self._too_large("more bytes than that")
            raise self.refusal
        self._complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Sends a response; after a refusal, the application's response is replaced by the refusal."""
        if self.refusal is not None and not self.answered:
            return
        if message["type"] == "http.response.start":
            self.answered, self.status = True, message["status"]
            headers = [*message.get("headers", []), *(HEADERS if self._page else HEADERS[:1])]
            if not self._complete:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        if message["type"] == "http.response.body" and not message.get("more_body", False) and not self._complete:
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Sends the reason."""
        self.refusal = None
        body = json.dumps({"error": refusal.reason}).encode()
        named = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
        headers = [(name.encode(), value.encode()) for name, value in named.items()]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def _linger(self) -> None:
        """Discards the rest of the body: closing at once could reset the connection before the response is read."""
        try:
            async with asyncio.timeout(LINGER):
                while (message := await self._receive())["type"] == "http.request" and message.get("more_body", False):
                    pass
        except TimeoutError:
            pass


async def read_body(receive: Receive) -> AsyncIterator[bytes]:
    """Yields the parts of a body as they arrive. Raises ClientGone when the client leaves."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return
