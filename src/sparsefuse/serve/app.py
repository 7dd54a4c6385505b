"""The routes of the server, as an ASGI application."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sparsefuse.files.typed import to_json
from sparsefuse.serve.guard import App, Guard, read_body
from sparsefuse.serve.numbers import TYPE
from sparsefuse.serve.refusal import Refusal
from sparsefuse.serve.service import Service
from sparsefuse.serve.upload import receive
from sparsefuse.serve.uploads import Uploads

if TYPE_CHECKING:
    from fastapi import FastAPI

_REFUSALS = {
    400: "a broken request",
    408: "the request came too slowly",
    413: "the request is too large",
    415: "neither a form nor JSON, or an unsupported type of file",
    422: "the clip cannot be used, with the reason",
    503: "too many requests; retry after Retry-After seconds",
    504: "no answer in time",
}


def application(service: Service, *, page: str | None = None) -> App:
    """The whole server but for its sockets; `page` is the address that its web page shows, None = it has no page.

    Raises ImportError without the extra `serve`.
    """
    if page is None:
        return _guarded(routes(service), service)
    from sparsefuse.serve.page import mount

    limits = service.limits
    uploads = Uploads(service.folder / "page", most=limits.places * limits.max_bytes, places=limits.places)
    app = routes(service, meanwhile=uploads.keep_sweeping)
    mount(app, service, uploads, page)
    return _guarded(app, service, uploads)


def _guarded(app: App, service: Service, uploads: Uploads | None = None) -> Guard:
    return Guard(app, service.limits, service.numbers, uploads=uploads, draining=lambda: service.draining)


def routes(service: Service, *, meanwhile: Callable[[], Coroutine[None, None, None]] | None = None) -> "FastAPI":
    """The API alone, without a guard; `meanwhile` runs beside it."""
    try:
        from fastapi import FastAPI
        from fastapi.responses import JSONResponse, PlainTextResponse, Response
        from starlette.exceptions import HTTPException
    except ImportError as error:
        raise ImportError("serving needs FastAPI: pip install 'sparsefuse[serve]'") from error

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            beside = asyncio.create_task(meanwhile()) if meanwhile else None
            yield
            if beside is not None:
                beside.cancel()

    card = service.card
    # FastAPI's pages of documentation load code from a CDN; the schema does not.
    app = FastAPI(
        title=f"sparsefuse: {card.name}",
        description=f"Predicts {_what(card.labels.classes)} of clips with {', '.join(card.modalities)}.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )

    async def refused(_: Any, error: Refusal) -> JSONResponse:
        return JSONResponse({"error": error.reason}, error.status, headers=error.headers)

    async def not_so(_: Any, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)

    async def failed(_: Any, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "the server failed; its log says why"}, 500)

    app.add_exception_handler(Refusal, refused)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(HTTPException, not_so)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(Exception, failed)

    async def predict(scope: MutableMapping[str, Any], body: Callable[[], Awaitable[Any]]) -> JSONResponse:
        began, deadline = time.monotonic(), service.deadline()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with service.place() as folder:
            files = await receive(headers, read_body(body), folder, service.fields)
            return JSONResponse((await service.predict(files, began, deadline))._asdict())

    _add_predict(app, predict, service)

    @app.get("/health", summary="Whether the server takes requests")
    async def health() -> Response:
        state = "ending" if service.draining else "ok"
        return JSONResponse({"status": state, "model": card.name}, 503 if service.draining else 200)

    @app.get("/card", summary="The model: method, modalities, labels, what /predict takes, results, limits")
    async def card_of() -> Response:
        return JSONResponse(to_json(card))

    @app.get("/metrics", summary="Prometheus text", response_class=PlainTextResponse)
    async def numbers() -> Response:
        return Response(service.numbers.text(), media_type=TYPE)

    return app


def _what(classes: Sequence[str]) -> str:
    return f"one of {', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}" if classes else "a number"


def _add_predict(app: "FastAPI", predict: Callable[..., Awaitable[Any]], service: Service) -> None:
    """POST /predict, with an explicit schema: the body is streamed, not read by FastAPI."""
    from fastapi import Request

    async def endpoint(request: Request):
        return await predict(request.scope, request.receive)

    card = service.card
    form = {name: {"type": "string", "format": "binary", "description": text} for name, text in card.inputs.items()}
    rows = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
    features = {"type": "object", "properties": dict.fromkeys(card.modalities, rows)}
    body = {
        "multipart/form-data": {"schema": {"type": "object", "properties": form, "additionalProperties": False}},
        "application/json": {
            "schema": {"type": "object", "properties": {"features": features}, "required": ["features"]},
            "example": card.example_json(),
        },
    }
    classes = card.labels.classes
    example = {
        "label": classes[0] if classes else "0.5",
        "probabilities": {name: round(1 / len(classes), 4) for name in classes},
        "missing": {},
        "ms": 12.3,
    }
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    answer = {
        "type": "object",
        "properties": {
            "label": {"type": "string", "description": "the likeliest class, or the number for regression"},
            "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
            "missing": {**texts, "description": "modalities that the clip lacks, and why"},
            "ms": {"type": "number", "description": "milliseconds from request to answer"},
        },
    }
    problem = {"schema": {"type": "object", "properties": {"error": {"type": "string"}}}}
    responses: dict[int | str, dict[str, Any]] = {
        200: {"description": "the prediction", "content": {"application/json": {"schema": answer, "example": example}}}
    }
    for status, text in _REFUSALS.items():
        responses[status] = {"description": text, "content": {"application/json": problem}}
    app.add_api_route(
        "/predict",
        endpoint,
        methods=["POST"],
        summary="The label of one clip: a media file, a file per modality, or features",
        response_model=None,
        responses=responses,
        openapi_extra={"requestBody": {"required": True, "content": body}},
    )
