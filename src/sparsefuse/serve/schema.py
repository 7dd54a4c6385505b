"""The description of the API in OpenAPI 3.1: /openapi.json."""

from collections.abc import Sequence
from typing import Any

from sparsefuse import __version__
from sparsefuse.serve.card import ServerCard

REFUSALS = {
    400: "a broken request",
    401: "the token is missing or wrong",
    403: "the page that asks is of an origin that is not allowed",
    408: "the request came too slowly",
    413: "the request is too large",
    415: "neither a form nor JSON, or an unsupported type of file",
    421: "the Host is not a name of this server",
    422: "the clip cannot be used, with the reason",
    503: "too many requests; retry after Retry-After seconds",
    504: "no answer in time",
}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def schema(card: ServerCard, base: str) -> dict[str, Any]:
    """The schema; `base` is the path under which the server is reached."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"sparsefuse: {card.name}",
            "description": f"Predicts {_what(card.labels.classes)} of clips with {', '.join(card.modalities)}.",
            "version": __version__,
        },
        "servers": [{"url": base or "/"}],
        "paths": {
            "/predict": {"post": _predict(card)},
            "/health": {"get": get("Whether the server takes requests", "application/json")},
            "/card": {"get": get("The model: method, modalities, labels, results, limits", "application/json")},
            "/metrics": {"get": get("Prometheus text", "text/plain")},
        },
    }


def _what(classes: Sequence[str]) -> str:
    return f"one of {', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}" if classes else "a number"


def get(summary: str, kind: str) -> dict[str, Any]:
    """A path that is read."""
    return {"summary": summary, "responses": {"200": {"description": "the answer", "content": {kind: {}}}}}


def _predict(card: ServerCard) -> dict[str, Any]:
    form = {name: {"type": "string", "format": "binary", "description": text} for name, text in card.inputs.items()}
    form |= {name: {"type": "string", "description": card.inputs[name]} for name in card.texts}
    rows = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
    features = {"type": "object", "properties": dict.fromkeys(card.modalities, rows)}
    texts = {"type": "object", "properties": {name: {"type": "string"} for name in card.texts}}
    body = {
        "multipart/form-data": {"schema": {"type": "object", "properties": form, "additionalProperties": False}},
        "application/json": {
            "schema": {"type": "object", "properties": {"features": features, "texts": texts}, "minProperties": 1},
            "example": card.example_json(),
        },
    }
    problem = {"application/json": {"schema": {"type": "object", "properties": {"error": {"type": "string"}}}}}
    refusals = {str(status): {"description": text, "content": problem} for status, text in REFUSALS.items()}
    good = {"description": "the prediction", "content": {"application/json": _answer(card)}}
    return {
        "summary": "The label of one clip: a file, a file or text per modality, or features",
        "requestBody": {"required": True, "content": body},
        "responses": {"200": good, **refusals},
    }


def _answer(card: ServerCard) -> dict[str, Any]:
    classes = card.labels.classes
    properties = {
        "label": {"type": "string", "description": "the likeliest class, or the number for regression"},
        "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
        "missing": {**_TEXTS, "description": "modalities that the clip lacks, and why"},
        "ms": {"type": "number", "description": "milliseconds from request to answer"},
    }
    example = {
        "label": classes[0] if classes else "0.5",
        "probabilities": {name: round(1 / len(classes), 4) for name in classes},
        "missing": {},
        "ms": 12.3,
    }
    return {"schema": {"type": "object", "properties": properties}, "example": example}
