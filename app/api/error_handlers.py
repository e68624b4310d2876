"""The one table from errors to HTTP: status, OpenAI's type and code, headers and body."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app import errors

_FIELD = re.compile(r"[a-z][a-z_]{0,40}")
_TYPE_NAMES = frozenset({"str", "int", "float", "bool", "list", "dict"})
_FREE_KEYS = frozenset({"metadata", "logit_bias", "criteria"})
"""Fields whose keys are the client's own text."""
_TAGS = frozenset({"predicate", "choice", "score", "noul"})
"""Types of a question: schema errors name them after its index, as if they were a level of the body."""
_CLIENT_CLOSED_REQUEST = 499


class _Shape(NamedTuple):
    status: int
    type: str
    code: str


_TABLE: dict[type[errors.ReparteeError], _Shape] = {
    errors.UnsupportedParameter: _Shape(400, "invalid_request_error", "unsupported_parameter"),
    errors.ContextLengthExceeded: _Shape(400, "invalid_request_error", "context_length_exceeded"),
    errors.InvalidJson: _Shape(400, "invalid_request_error", "invalid_json"),
    errors.UnsupportedMediaType: _Shape(415, "invalid_request_error", "unsupported_media_type"),
    errors.BodyTooLarge: _Shape(413, "invalid_request_error", "request_too_large"),
    errors.BodyTimeout: _Shape(408, "invalid_request_error", "request_timeout"),
    errors.MalformedHttp: _Shape(400, "invalid_request_error", "malformed_http"),
    errors.UrlTooLong: _Shape(414, "invalid_request_error", "url_too_long"),
    errors.HeadersTooLarge: _Shape(431, "invalid_request_error", "headers_too_large"),
    errors.HeadersTimeout: _Shape(408, "invalid_request_error", "request_timeout"),
    errors.ContentFiltered: _Shape(400, "invalid_request_error", "content_filter"),
    errors.PreflightRefused: _Shape(400, "invalid_request_error", "cors_not_allowed"),
    errors.ForeignPage: _Shape(403, "permission_error", "cors_not_allowed"),
    errors.InvalidRequest: _Shape(400, "invalid_request_error", "invalid_value"),
    errors.AuthenticationFailed: _Shape(401, "authentication_error", "invalid_api_key"),
    errors.PermissionDenied: _Shape(403, "permission_error", "permission_denied"),
    errors.ModelNotFound: _Shape(404, "not_found_error", "model_not_found"),
    errors.QuotaExceeded: _Shape(429, "rate_limit_error", "rate_limit_exceeded"),
    errors.Overloaded: _Shape(503, "server_error", "server_is_overloaded"),
    errors.Starting: _Shape(503, "server_error", "server_is_starting"),
    errors.Draining: _Shape(503, "server_error", "shutting_down"),
    errors.EngineRestarting: _Shape(503, "server_error", "engine_restarting"),
    errors.Unavailable: _Shape(503, "server_error", "unavailable"),
    errors.DeadlineExceeded: _Shape(504, "timeout_error", "deadline_exceeded"),
    errors.EngineFailure: _Shape(500, "server_error", "internal_error"),
}
_INTERNAL = _Shape(500, "server_error", "internal_error")
_ENGINE_CODES = {errors.SequenceFailed: "sequence_failed", errors.EngineDied: "engine_died"}
_HTTP_ERRORS = {
    404: ("No such route.", "unknown_url"),
    405: ("This route does not take this method.", "method_not_allowed"),
}
_VALIDATION_ERRORS = {
    "missing": ("This field is required.", "missing_required_parameter"),
    "extra_forbidden": ("This field is not known.", "unknown_parameter"),
    "unsupported_parameter": (errors.UnsupportedParameter("").message, "unsupported_parameter"),
    "top_logprobs": ("This field is allowed only with logprobs set to true.", "invalid_value"),
    "stream_options": ("This field is allowed only with stream set to true.", "invalid_value"),
    "max_tokens": ("max_tokens and max_completion_tokens must not differ.", "invalid_value"),
    "stop_length": ("A stop string must have between 1 and 256 bytes.", "invalid_value"),
    "question_names": ("The names of the questions must differ from each other.", "invalid_value"),
    "token_id": ("The keys of this field must be token ids.", "invalid_value"),
}
_BOUNDS = {
    "greater_than_equal": ("be at least", "ge", ""),
    "greater_than": ("be above", "gt", ""),
    "less_than_equal": ("be at most", "le", ""),
    "less_than": ("be below", "lt", ""),
    "string_too_short": ("have at least", "min_length", "character"),
    "string_too_long": ("have at most", "max_length", "character"),
    "too_short": ("have at least", "min_length", "item"),
    "too_long": ("have at most", "max_length", "item"),
}
"""Schema errors about a bound of the field, and where the framework keeps it; the bound is ours, never the client's."""


def _shape_of(error: errors.ReparteeError) -> _Shape:
    """The entry of the error's class, or of its nearest base."""
    return _TABLE.get(type(error)) or next(
        (_TABLE[cls] for cls in type(error).__mro__ if cls in _TABLE), _INTERNAL
    )


def observed_code(error: errors.ReparteeError) -> str:
    """The code for logs and metrics, which tells the kinds of `internal_error` apart."""
    if isinstance(error, errors.EngineFailure):
        return _ENGINE_CODES.get(type(error), "engine_failure")
    return _shape_of(error).code


def error_body(message: str, type_: str, param: str | None, code: str) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}


def describe(error: errors.ReparteeError, request_id: str) -> dict[str, Any]:
    """The error object of a domain error; our own faults carry the request id to ask us about."""
    shape = _shape_of(error)
    message = f"{error.message} Request id: {request_id}." if shape.status == 500 else error.message
    return error_body(message, shape.type, error.param, shape.code)


def render_error(error: errors.ReparteeError, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a domain error."""
    headers = {"content-type": "application/json"} | _retry_headers(getattr(error, "retry_after", None))
    if isinstance(error, errors.AuthenticationFailed):
        headers["www-authenticate"] = "Bearer"
    return _shape_of(error).status, headers, msgspec.json.encode(describe(error, request_id))


def _retry_headers(seconds: float | None) -> dict[str, str]:
    """Clients ignore a `Retry-After` of 0, and OpenAI's prefer the milliseconds."""
    if seconds is None:
        return {}
    return {
        "retry-after": str(max(1, math.ceil(seconds))),
        "retry-after-ms": str(max(1, round(seconds * 1000))),
    }


def field_of(location: Sequence[str | int]) -> str | None:
    """The dotted field of a schema error, up to a part that may be the client's own text."""
    parts = list[str]()
    for before, part in pairwise(location):
        if before in _FREE_KEYS:
            break
        if isinstance(part, str) and (part in _TYPE_NAMES or not _FIELD.fullmatch(part)):
            break
        if not (isinstance(before, int) and part in _TAGS):
            parts.append(str(part))
    return ".".join(parts) or None


def _observe(request: Request, code: str) -> str:
    """Note the code of a refusal; returns the request id."""
    observation = getattr(request.state, "observation", None)
    if observation is None:
        return ""
    observation.error_code = code
    return str(observation.request_id)


def _answer(
    request: Request, status: int, error: dict[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    _observe(request, error["error"]["code"])
    return Response(msgspec.json.encode(error), status, headers, "application/json")


async def _on_domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ReparteeError)
    status, headers, body = render_error(error, _observe(request, observed_code(error)))
    return Response(body, status, headers)


def _schema_message(problem: Mapping[str, Any]) -> tuple[str, str]:
    """Message and code of one schema error: the field's own bounds may be told, the client's text may not."""
    kind = problem["type"]
    if kind in _BOUNDS:
        verb, name, unit = _BOUNDS[kind]
        bound = problem["ctx"][name]
        noun = f" {unit}{'' if bound == 1 else 's'}" if unit else ""
        return f"This field must {verb} {_number(bound)}{noun}.", "invalid_value"
    return _VALIDATION_ERRORS.get(
        kind, ("This field has the wrong type or a value that is not allowed.", "invalid_value")
    )


def _number(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)


async def _on_schema_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    # Of a field with several forms every form complains; what we do not support says more than a wrong type.
    first = next((p for p in problems if p["type"] == "unsupported_parameter"), problems[0])
    message, code = _schema_message(first)
    return _answer(request, 400, error_body(message, "invalid_request_error", field_of(first["loc"]), code))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message, code = _HTTP_ERRORS.get(error.status_code, ("The request cannot be served.", "invalid_request"))
    body = error_body(message, "invalid_request_error", None, code)
    return _answer(request, error.status_code, body, error.headers)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


def install_error_handlers(app: FastAPI) -> None:
    """Answer every expected failure in OpenAI's shape; the outermost middleware answers the others."""
    app.add_exception_handler(errors.ReparteeError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_schema_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
