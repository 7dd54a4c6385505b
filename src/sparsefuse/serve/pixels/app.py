"""The routes of the server of a run on pictures, as an ASGI application."""

import base64
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from sparsefuse.media.still import STILLS
from sparsefuse.serve.access import Access
from sparsefuse.serve.app import file, headers_of, line, page_files
from sparsefuse.serve.guard import App, Guard, Receive, Scope, Send, read_body, respond
from sparsefuse.serve.numbers import TYPE
from sparsefuse.serve.pixels.schema import schema
from sparsefuse.serve.pixels.service import SceneAnswer, SceneService
from sparsefuse.serve.refusal import Refusal
from sparsefuse.serve.upload import JSON
from sparsefuse.serve.upload import receive as receive_files

API = {
    "/predict": "POST",
    "/picture": "POST",
    "/show": "POST",
    "/health": "GET",
    "/card": "GET",
    "/metrics": "GET",
    "/openapi.json": "GET",
}
SUFFIXES = STILLS | {".npy"}
_JSON = "application/json"


def scene_application(service: SceneService, access: Access, *, page: bool) -> App:
    """The whole server but for its sockets, while `service` is running; `page` is whether it has a web page."""
    methods = {path: method for path, method in API.items() if page or path != "/show"}
    routes = _Routes(service, named=not access.token).by_path()
    if page:
        files = page_files(Path(__file__).parent)
        methods |= dict.fromkeys(files, "GET")
        routes |= {path: file(*content) for path, content in files.items()}

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await routes[scope["path"]](scope, receive, send)

    return Guard(route, methods, service.limits, service.numbers, access, draining=lambda: service.draining)


class _Routes:
    def __init__(self, service: SceneService, *, named: bool) -> None:
        self._service, self._named = service, named  # whether /health, which needs no token, names the model
        self._card = json.dumps(service.card.facts()).encode()

    def by_path(self) -> dict[str, Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]]:
        """The route of each path of the API."""
        return {path: getattr(self, path.strip("/").partition(".")[0]) for path in API}

    async def predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        """JSON, with the PNG in it."""
        answer = await self._answer(scope, receive)
        await respond(send, 200, line(_facts(answer)), _JSON)

    async def picture(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The PNG alone."""
        answer = await self._answer(scope, receive)
        await respond(send, 200, answer.said.png, "image/png")

    async def show(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As `predict`, with what the page draws."""
        answer = await self._answer(scope, receive, views=True)
        views = {name: _text(png) for name, png in answer.said.views.items()}
        await respond(send, 200, line({**_facts(answer), "views": views}), _JSON)

    async def _answer(self, scope: Scope, receive: Receive, *, views: bool = False) -> SceneAnswer:
        service, began, deadline = self._service, time.monotonic(), self._service.admission.deadline()
        with service.admission.place() as folder:
            files = await receive_files(headers_of(scope), read_body(receive), folder, service.fields, SUFFIXES)
            if any(one.field == JSON for one in files):
                pictures = " ".join(f"-F {name}=@{name}.png" for name in service.fields)
                raise Refusal(415, f"the body is JSON; send pictures as a form: curl {pictures}")
            return await service.predict(files, began, deadline, views=views)

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


def _facts(answer: SceneAnswer) -> dict[str, Any]:
    return {**answer.said.facts, "png": _text(answer.said.png), "ms": answer.ms}


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
