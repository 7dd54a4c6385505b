"""ASGI middleware that refuses requests of strangers, and those that are too large, too slow or to unknown paths."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from sparsefuse.serve.access import Access, Caller
from sparsefuse.serve.limits import JSON_MB, ServeLimits
from sparsefuse.serve.numbers import Numbers
from sparsefuse.serve.refusal import ClientGone, Refusal
from sparsefuse.shown import shown

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LINGER = 2.0
"""Seconds for which a refused client's body is still read, so that it gets the reason before the connection closes."""
API = {
    "/predict": "POST",
    "/explain": "POST",
    "/health": "GET",
    "/card": "GET",
    "/metrics": "GET",
    "/openapi.json": "GET",
}
_OPEN = ("/", "/page.js", "/page.css", "/health")
"""Paths that say nothing about the model, and so need no token: a browser cannot send one when it opens a page."""
_SECURITY = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; media-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_log = logging.getLogger(__name__)


class Guard:
    """Wraps the application, which has `methods`: path -> GET (and HEAD) or POST.

    `draining()` is whether the server is shutting down.
    """

    def __init__(
        self,
        app: App,
        methods: Mapping[str, str],
        limits: ServeLimits,
        numbers: Numbers,
        access: Access,
        *,
        draining: Callable[[], bool],
    ) -> None:
        self.app, self.methods, self.limits, self.numbers = app, methods, limits, numbers
        self.access, self.draining = access, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = _Visit(self.limits, scope, receive, send)
        path = "other"
        try:
            visit.caller = caller = self.access.caller(scope)
            scope = _as_seen(scope, caller)
            self._check(scope)
            path = scope["path"]
            if scope["method"] == "OPTIONS":
                await visit.preflight(self._allowed(path))
            else:
                visit.check_size(carries_clip=self.methods[path] == "POST")
                await self.app(scope, visit.receive, visit.send)
        except Refusal as refusal:
            visit.refusal = visit.refusal or refusal
        except ClientGone:
            visit.gone = True
        except Exception:  # expected after a refusal, or when the client left
            if visit.refusal is None and not visit.gone:
                _log.exception("a request to %s failed", path)
                visit.refusal = Refusal(500, "the server failed; its log says why")
                if visit.answered:
                    raise
        finally:
            try:
                if visit.refusal is not None and not visit.answered and not visit.gone:
                    await visit.refuse(visit.refusal)
            finally:
                self.numbers.request(path, visit.status, time.monotonic() - visit.began)

    def _check(self, scope: Scope) -> None:
        """Raises Refusal for a path or method that is not served, and for a request without the token."""
        path, method = scope["path"], scope["method"]
        if path not in _OPEN and method != "OPTIONS":  # which a browser sends without a token
            self.access.check_token(scope)
        if self.draining() and path not in ("/health", "/metrics"):
            raise Refusal(503, "the server is shutting down", retry_after=5)
        if path == "" and "/" in self.methods:
            raise Refusal(308, f"the page is at {scope['root_path']}/", headers={"location": f"{scope['root_path']}/"})
        if path not in self.methods:
            raise Refusal(404, f"there is no {shown(path)!r} here; see /openapi.json")
        allowed = self._allowed(path)
        if method not in allowed:
            takes = f"{path} takes {self.methods[path]}, not {shown(method, 20)}; see /openapi.json"
            raise Refusal(405, takes, headers={"allow": ", ".join(allowed)})

    def _allowed(self, path: str) -> list[str]:
        return [*(["POST"] if self.methods[path] == "POST" else ["GET", "HEAD"]), "OPTIONS"]


def _as_seen(scope: Scope, caller: Caller) -> Scope:
    """The request with its path below the base path, which a proxy may have removed already."""
    base, path = caller.base, scope["path"]
    if base and (path == base or path.startswith(f"{base}/")):
        path = path.removeprefix(base)
    return {**scope, "path": path, "root_path": base, "scheme": caller.scheme, "client": (caller.address, 0)}


class _Visit:
    """One request: limits the body, and completes the headers of the response."""

    def __init__(self, limits: ServeLimits, scope: Scope, receive: Receive, send: Send) -> None:
        self.began = time.monotonic()
        self.status = 499  # of a client that left before a response
        self.refusal: Refusal | None = None
        self.caller: Caller | None = None
        self.answered = self.gone = False
        self._limits, self._receive, self._send = limits, receive, send
        self._headers = {name.lower(): value for name, value in scope["headers"]}
        self._most = min(limits.max_bytes, int(JSON_MB * 1e6))
        self._size = 0
        self._complete = b"transfer-encoding" not in self._headers and self._stated() == 0

    def _stated(self) -> int:
        text = self._headers.get(b"content-length", b"0")
        return int(text) if text.isdigit() else 0

    def check_size(self, *, carries_clip: bool) -> None:
        """Raises Refusal for a Content-Length that is too large, before the body is read."""
        if carries_clip:
            self._most = self._limits.max_bytes
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
            headers = [*message.get("headers", []), *_encoded(_SECURITY | self._of_origin())]
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
        await respond(self.send, refusal.status, body, "application/json", refusal.headers)

    async def preflight(self, allowed: list[str]) -> None:
        """Answers OPTIONS; to a page of an allowed origin, what it may send."""
        cross = {"access-control-allow-methods": ", ".join(allowed), "access-control-max-age": "600"}
        cross["access-control-allow-headers"] = "authorization, content-type"
        more = {"allow": ", ".join(allowed), **(cross if self._of_origin() else {})}
        await respond(self.send, 204, b"", "", more)

    def _of_origin(self) -> dict[str, str]:
        """Headers by which a page of another, allowed origin may read the answer."""
        origin = self.caller.origin if self.caller else ""
        return {"access-control-allow-origin": origin, "vary": "origin"} if origin else {}

    async def _linger(self) -> None:
        """Discards the rest of the body: closing at once could reset the connection before the response is read."""
        try:
            async with asyncio.timeout(LINGER):
                while (message := await self._receive())["type"] == "http.request" and message.get("more_body", False):
                    pass
        except TimeoutError:
            pass


async def respond(send: Send, status: int, body: bytes, kind: str, more: Mapping[str, str] | None = None) -> None:
    """Sends a whole response; one without a `kind` has no body."""
    described = {"content-type": kind, "content-length": str(len(body))} if kind else {}
    await send({"type": "http.response.start", "status": status, "headers": _encoded(described | dict(more or {}))})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def read_body(receive: Receive) -> AsyncIterator[bytes]:
    """Yields the parts of a body as they arrive. Raises ClientGone when the client leaves."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return
