"""The OpenAPI 3.1 document, made of the endpoints: of their signatures, docstrings and shapes."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from hookline.daemon.api.areas import AREAS
from hookline.daemon.api.endpoint import Area, Endpoint
from hookline.daemon.api.parameters import Parameter, parameters
from hookline.daemon.api.problem import Content
from hookline.daemon.api.shape_schema import Shapes
from hookline.daemon.version import VERSION

Schema = dict[str, Any]

_PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "What is wrong, and what to do (RFC 9457).",
    "properties": {
        "status": {"type": "integer", "description": "As in the answer's first line."},
        "title": {"type": "string", "description": "What kind of problem it is."},
        "detail": {"type": "string", "description": "What is wrong here."},
    },
    "required": ["status", "title", "detail"],
    "additionalProperties": False,
}
_ABOUT: Final = (
    "What a running Hookline knows and can be told. Lists are newest first, in pages: `next` of one is `before` of the "
    "one that follows. Errors are problem details (RFC 9457). Tokens are made by `hookline token add`; of their scopes "
    "`read`, `operate` and `admin` each holds the ones before it."
)
#: What any endpoint may answer.
_ALWAYS: Final = {
    400: "A parameter is unknown, stands twice, or cannot be read; or the body is not JSON.",
    401: "No token, or one that is not good.",
    421: "The listener is not called so.",
    429: "Too many wrong tokens came from there.",
    500: "A fault of Hookline; it was logged.",
    503: "The store cannot do it now.",
}
_WRITING: Final = {403: "The token's scope does not allow it, or another site's page asked."}
_BRINGING: Final = {
    413: "More than 1 MiB.",
    415: "Not application/json.",
    422: "It cannot be done as asked.",
}
_NAMED: Final = {404: "There is none."}
_KNOWN: Final = _ALWAYS | _WRITING | _BRINGING | _NAMED
_KINDS: Final[Mapping[Any, Schema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
}


@cache
def document() -> Schema:
    """Return the document. Made when it is first asked for; not to be changed."""
    shapes = Shapes()
    paths: dict[str, Schema] = {}
    for area in AREAS:
        for endpoint in area.endpoints:
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(area, endpoint, shapes)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Hookline", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}, {"session": []}],
        "tags": [{"name": area.name, "description": area.about} for area in AREAS],
        "paths": paths,
        "components": {
            "schemas": {"Problem": _PROBLEM, **shapes.found},
            "responses": {str(status): _problem(about) for status, about in sorted(_KNOWN.items())},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of `hookline token add`."},
            },
        },
    }


def _operation(area: Area, endpoint: Endpoint, shapes: Shapes) -> Schema:
    function = endpoint.function
    about = inspect.cleandoc(function.__doc__ or "")
    said: Schema = {
        "operationId": function.__name__,
        "tags": [area.name],
        "summary": about.partition("\n")[0],
        "description": f"{about}\n\nScope: `{endpoint.scope}`.",
        "x-scope": endpoint.scope,
        # What OpenAPI has for it: roles, which bearer tokens may name since 3.1.
        "security": [{"token": [endpoint.scope]}],
        "responses": _responses(endpoint, shapes),
    }
    if asked := [_parameter(one) for one in parameters(function, endpoint.path)]:
        said["parameters"] = asked
    if endpoint.brings is not None:
        schema = shapes.of(endpoint.brings)
        said["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return said


def _parameter(one: Parameter) -> Schema:
    schema = {"enum": [*get_args(one.kind)]} if get_origin(one.kind) is Literal else dict(_KINDS[one.kind])
    if one.default is not None:
        schema["default"] = one.default
    return {
        "name": one.name,
        "in": "path" if one.is_in_path else "query",
        "required": one.is_required or one.is_in_path,
        "description": one.about,
        "schema": schema,
    }


def _responses(endpoint: Endpoint, shapes: Shapes) -> Schema:
    answered = get_type_hints(endpoint.function)["return"]
    content: Schema
    if answered is Content:
        content = {"*/*": {}}
    elif get_origin(answered) is AsyncIterator:
        content = {"text/event-stream": {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": shapes.of(answered)}}
    fine: Schema = {"description": "As asked.", "content": content}
    if endpoint.method == "GET" and "application/json" in content:
        fine["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "For If-None-Match."}}
    found = {str(endpoint.status): fine}
    if "headers" in fine:
        found["304"] = {"description": "What If-None-Match names is what would be answered."}
    for status, about in sorted(_also(endpoint).items()):
        is_known = about == _KNOWN.get(status)
        found[str(status)] = {"$ref": f"#/components/responses/{status}"} if is_known else _problem(about)
    return found


def _problem(about: str) -> Schema:
    return {
        "description": about,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _also(endpoint: Endpoint) -> dict[int, str]:
    also = dict(_ALWAYS)
    if endpoint.method != "GET" or endpoint.scope != "read":
        also |= _WRITING
    if endpoint.method == "POST":
        also |= _BRINGING
    if "{" in endpoint.path:
        also |= _NAMED
    return also | endpoint.also
