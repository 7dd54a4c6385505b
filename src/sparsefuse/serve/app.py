"""The routes of the server, as an ASGI application."""

import json
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from sparsefuse.serve.access import Access
from sparsefuse.serve.guard import API, App, Guard, Receive, Scope, Send, read_body, respond
from sparsefuse.serve.numbers import TYPE
from sparsefuse.serve.refusal import Refusal
from sparsefuse.serve.schema import schema
from sparsefuse.serve.service import Service
from sparsefuse.serve.upload import receive as receive_files

_HERE = Path(__file__).parent
_JSON, _LINES = "application/json", "application/x-ndjson"


def application(service: Service, access: Access, *, page: bool) -> App:
    """The whole server but for its sockets, while `service` is running; `page` is whether it has a web page."""
    methods = {path: method for path, method in API.items() if page or path != "/explain"}
    routes = _Routes(service, named=not access.token).by_path()
    if page:
        files = page_files(_HERE)
        methods |= dict.fromkeys(files, "GET")
        routes |= {path: file(*content) for path, content in files.items()}

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await routes[scope["path"]](scope, receive, send)

    return Guard(route, methods, service.limits, service.numbers, access, draining=lambda: service.draining)


class _Routes:
    def __init__(self, service: Service, *, named: bool) -> None:
        self._service, self._named = service, named  # whether /health, which needs no token, names the model
        self._card = json.dumps(service.card.facts()).encode()

    def by_path(self) -> dict[str, Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]]:
        """The route of each path of the API."""
        return {path: getattr(self, path.strip("/").partition(".")[0]) for path in API}

    async def predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, began, deadline = self._service, time.monotonic(), self._service.admission.deadline()
        with service.admission.place() as folder:
            files = await receive_files(headers_of(scope), read_body(receive), folder, service.fields)
            answer = await service.predict(files, began, deadline)
        await respond(send, 200, line(answer._asdict()), _JSON)  # when its files are gone

    async def explain(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Two lines of JSON: the prediction as soon as it is there, then its explanation or why there is none."""
        service, began, deadline = self._service, time.monotonic(), self._service.admission.deadline()
        with service.admission.place() as folder:
            files = await receive_files(headers_of(scope), read_body(receive), folder, service.fields)
            answer = await service.predict(files, began, deadline)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", _LINES.encode())]})
            await send({"type": "http.response.body", "body": line(answer._asdict()), "more_body": True})
            try:
                last = (await service.explain(files, service.admission.deadline()))._asdict()
            except Refusal as refusal:
                last = {"error": refusal.reason}
        await send({"type": "http.response.body", "body": line(last)})

    async def health(self, scope: Scope, receive: Receive, send: Send) -> None:
        state, status = ("ending", 503) if self._service.draining else ("ok", 200)
        model = {"model": self._service.card.name} if self._named else {}
        await respond(send, status, line({"status": state, **model}), _JSON)

    async def card(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, 200, self._card, _JSON)

    async def metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, 200, self._service.numbers.text().encode(), TYPE)

    async def openapi(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, 200, line(schema(self._service.card, scope["root_path"])), _JSON)


def page_files(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Path -> content and type of the page's files, with the script of a folder; it has the report's colours, which
    figures use."""
    colours = (_HERE.parent / "report" / "style.css").read_text(encoding="utf-8").split("* { box-sizing")[0]
    css = colours + (_HERE / "page.css").read_text(encoding="utf-8")
    return {
        "/": ((folder / "page.html").read_bytes(), "text/html; charset=utf-8"),
        "/page.js": ((folder / "page.js").read_bytes(), "text/javascript; charset=utf-8"),
        "/page.css": (css.encode(), "text/css; charset=utf-8"),
    }


def file(content: bytes, kind: str) -> Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]:
    """The route of a file of the page."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, 200, content, kind)

    return answer


def headers_of(scope: Scope) -> Mapping[str, str]:
    """Of a request, as text."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def line(value: Mapping[str, Any]) -> bytes:
    """One line of JSON."""
    return json.dumps(value).encode() + b"\n"
