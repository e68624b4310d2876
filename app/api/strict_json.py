"""Strict JSON: what a request body must be before any schema looks at it."""

import json
from collections.abc import Callable, Coroutine
from itertools import accumulate
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi._compat import ModelField
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from app.errors import InvalidJson, TooManyKeys, UnsupportedMediaType
from app.services import aside

MAX_DEPTH = 32
MAX_CONTAINERS = 1 << 15
MAX_KEYS = 1 << 10
MAX_VALUES = 1 << 17
"""Commas outside of strings: as many token ids as a long context holds."""
BODY_RULE = (
    f"A body is one JSON document in UTF-8, at most {MAX_DEPTH} arrays and objects deep, of at most {MAX_CONTAINERS} of"
    f" them and {MAX_VALUES} commas. An object has at most {MAX_KEYS} keys, none twice."
)
"""For those who write bodies; see `parse`."""
INLINE_BYTES = 32 * 1024
"""Bodies up to this size are parsed on the event loop; longer ones can take tens of milliseconds."""
_SLICE_BYTES = 1 << 16
_NO_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))


def parse(body: bytes) -> Any:
    """The one JSON document in `body`.

    Raises:
        InvalidJson: not UTF-8, not one document, duplicate keys, NaN or Infinity (also by overflow), lone
            surrogates, or larger in shape than any request of ours: depth, containers, values.
        TooManyKeys: one object has more of them than any of ours.
    """
    try:
        _check_shape(body)
        value = msgspec.json.decode(body)
        json.loads(body, object_pairs_hook=_check_keys)
    except (ValueError, RecursionError) as error:
        raise InvalidJson from error
    return value


def _check_keys(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    if len(pairs) > MAX_KEYS:
        raise TooManyKeys(MAX_KEYS)


def _check_shape(body: bytes) -> None:
    """Count brackets and commas outside of strings, before anything is built from them."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH and body.count(b",") <= MAX_VALUES:
        return
    structure = _outside_of_strings(body).translate(None, _NO_STRUCTURE)
    if structure.count(b",") > MAX_VALUES:
        raise ValueError
    brackets = structure.translate(None, b",")
    if len(brackets) > 2 * MAX_CONTAINERS:
        raise ValueError
    if max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0) > MAX_DEPTH:
        raise ValueError


def _outside_of_strings(body: bytes) -> bytes:
    """The body without its strings, in a few passes that are linear in its size whatever it holds, none of them long.

    A backslash outside of strings is no JSON, so escapes may be dropped first, and all quotes left are ends of strings.
    """
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    if unescaped.count(b'"') > 4 * (MAX_VALUES + MAX_CONTAINERS):
        raise ValueError
    outside, within = list[bytes](), 0
    for start in range(0, len(unescaped), _SLICE_BYTES):
        pieces = unescaped[start : start + _SLICE_BYTES].split(b'"')
        outside += pieces[within::2]
        within = (within + len(pieces) - 1) % 2
    return b"".join(outside)


class StrictRequest(Request):
    """A request whose JSON is parsed strictly, once, and where it is long validated too, both beside the event loop.

    Attributes:
        field: what the framework would validate the body with. It takes what it made itself as it is.
    """

    field: ModelField | None = None

    async def json(self) -> Any:
        """The parsed body, or what its field makes of it.

        Raises:
            InvalidJson: see `parse`.
            RequestValidationError: it is not what the field wants.
        """
        if not hasattr(self, "_value"):
            body = await self.body()
            inline = len(body) <= INLINE_BYTES
            self._value = parse(body) if inline else await aside.bodies(_read, body, self.field)
        return self._value


def _read(body: bytes, field: ModelField | None) -> Any:
    value = parse(body)
    if field is None:
        return value
    valid, problems = field.validate(value, loc=("body",))
    if problems:
        raise RequestValidationError(problems)
    return valid


class StrictJsonRoute(APIRoute):
    """Parses the body strictly first, so that schemas and OpenAPI stay the framework's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler behind the strict parser."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            if self.body_field is not None:
                request.field = self.body_field
                if not _is_json(request.headers.get("content-type", "")):
                    raise UnsupportedMediaType
                await request.json()
            return await handler(request)

        return strict


def _is_json(content_type: str) -> bool:
    return content_type.split(";", 1)[0].strip().lower() == "application/json"
