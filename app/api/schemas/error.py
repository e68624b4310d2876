"""Answers that no schema makes, for the documentation: errors, which `app.api.error_handlers` writes, and streams."""

from typing import Any

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """What went wrong; `param` names the field, `code` is for programs."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorResponse(BaseModel):
    """OpenAI's error body."""

    error: ErrorDetail


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": description}
    for status, description in {
        400: "The request is malformed or out of range",
        401: "The API key is missing or wrong",
        403: "The API key is not allowed here",
        404: "No such model",
        408: "The body did not arrive in time",
        413: "The body is too large",
        415: "The body is not JSON",
        429: "The key's quota is used up",
        500: "The server failed",
        503: "The server cannot take the request now",
        504: "The request's deadline passed before its first token",
    }.items()
}
# Without it the framework documents its own 422, which this server never sends.
ERROR_RESPONSES["default"] = {"model": ErrorResponse, "description": "Any other failure"}

KEY_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: ERROR_RESPONSES[status] for status in (401, 403, 429)
}
"""Of routes that take no body and cannot be wrongly asked, but ask for a key."""

GENERATED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A whole answer, or with `stream` its events, of which the last says `[DONE]`",
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["id", "object", "model", "choices", "usage"]}
            },
            "text/event-stream": {
                "itemSchema": {
                    "type": "object",
                    "required": ["data"],
                    "properties": {"data": {"type": "string"}},
                }
            },
        },
    }
}
"""Of routes that generate text; their writers know no schemas."""
