"""Strict JSON: what a request body must be before any schema looks at it."""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from itertools import accumulate
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.errors import InvalidJson, TooManyKeys, UnsupportedMediaType

MAX_DEPTH = 32
MAX_CONTAINERS = 1 << 15
MAX_KEYS = 1 << 10
INLINE_BYTES = 64 * 1024
"""Bodies up to this size are parsed on the event loop; longer ones can take tens of milliseconds."""
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string, or what an unclosed one leaves: possessive, since going back makes it quadratic in the body's size."""
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def parse(body: bytes) -> Any:
    """The one JSON document in `body`.

    Raises:
        InvalidJson: not UTF-8, not one document, duplicate keys, NaN or Infinity (also by overflow), lone
            surrogates, or larger in shape than any request of ours: depth, containers.
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
    """Count brackets outside of strings, before anything is built from them."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKETS)
    if len(brackets) > 2 * MAX_CONTAINERS:
        raise ValueError
    if max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0) > MAX_DEPTH:
        raise ValueError


class StrictRequest(Request):
    """A request whose JSON is parsed strictly, once."""

    async def json(self) -> Any:
        """The parsed body.

        Raises:
            InvalidJson: see `parse`.
        """
        if not hasattr(self, "_value"):
            body = await self.body()
            inline = len(body) <= INLINE_BYTES
            self._value = parse(body) if inline else await asyncio.to_thread(parse, body)
        return self._value


class StrictJsonRoute(APIRoute):
    """Parses the body strictly first, so that schemas and OpenAPI stay the framework's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler behind the strict parser."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            if self.body_field is not None:
                if not _is_json(request.headers.get("content-type", "")):
                    raise UnsupportedMediaType
                await request.json()
            return await handler(request)

        return strict


def _is_json(content_type: str) -> bool:
    return content_type.split(";", 1)[0].strip().lower() == "application/json"
