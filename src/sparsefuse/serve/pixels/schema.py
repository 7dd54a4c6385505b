"""The description of the API of a run on pictures in OpenAPI 3.1: /openapi.json."""

from typing import Any

from sparsefuse import __version__
from sparsefuse.serve.pixels.card import SceneCard
from sparsefuse.serve.schema import REFUSALS, get


def schema(card: SceneCard, base: str) -> dict[str, Any]:
    """The schema; `base` is the path under which the server is reached."""
    makes = f"a {card.target} picture" if card.target else f"a class of {len(card.classes)} for each pixel"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"sparsefuse: {card.name}",
            "description": f"Makes {makes} of {', '.join(card.streams)}.",
            "version": __version__,
        },
        "servers": [{"url": base or "/"}],
        "paths": {
            "/predict": {"post": _post(card, "The prediction of one scene, with its PNG in base64", _json())},
            "/picture": {"post": _post(card, "Its PNG alone: labels with a palette, or a picture", {"image/png": {}})},
            "/health": {"get": get("Whether the server takes requests", "application/json")},
            "/card": {"get": get("The model: method, streams, classes, score, limits", "application/json")},
            "/metrics": {"get": get("Prometheus text", "text/plain")},
        },
    }


def _post(card: SceneCard, summary: str, content: dict[str, Any]) -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    form = {name: {**file, "description": stream.what} for name, stream in card.streams.items()}
    body = {"schema": {"type": "object", "properties": form, "minProperties": 1, "additionalProperties": False}}
    problem = {"application/json": {"schema": {"type": "object", "properties": {"error": {"type": "string"}}}}}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"multipart/form-data": body}},
        "responses": {
            "200": {"description": "the answer", "content": content},
            **{str(status): {"description": text, "content": problem} for status, text in REFUSALS.items()},
        },
    }


def _json() -> dict[str, Any]:
    one = {"number": "integer", "name": "string", "color": "string", "share": "number"}
    item = {"type": "object", "properties": {name: {"type": kind} for name, kind in one.items()}}
    properties = {
        "height": {"type": "integer"},
        "width": {"type": "integer"},
        "classes": {"type": "array", "items": item, "description": "those that occur, the largest first"},
        "missing": {"type": "object", "additionalProperties": {"type": "string"}},
        "png": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"},
        "ms": {"type": "number", "description": "milliseconds from request to answer"},
    }
    return {"application/json": {"schema": {"type": "object", "properties": properties}}}
