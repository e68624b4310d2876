"""Strict JSON: what a request body must be before any schema looks at it."""

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import msgspec
from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.errors import InvalidJson, UnsupportedMediaType

MAX_DEPTH = 32
_CONTAINERS = (dict, list)
_LARGEST = 1 << 64


def parse(body: bytes) -> Any:
    """The one JSON document in `body`.

    Raises:
        InvalidJson: not UTF-8, not one document, duplicate keys, NaN or Infinity (also by overflow), lone
            surrogates, integers beyond 64 bits, or deeper than 32.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_float=_finite,
            parse_int=_bounded,
        )
        _check_depth(value, body)
        if b"\\u" in body:
            msgspec.json.encode(value)  # refuses lone surrogates, which only escapes can spell
    except (ValueError, RecursionError) as error:
        raise InvalidJson from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _bounded(text: str) -> int:
    value = int(text) if len(text) <= 20 else _LARGEST
    if not -_LARGEST < value < _LARGEST:
        raise ValueError
    return value


def _check_depth(value: Any, body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH):
        children = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for node in children for child in node if isinstance(child, _CONTAINERS)]
        if not level:
            return
    raise ValueError


class StrictRequest(Request):
    """A request whose JSON is parsed strictly, once."""

    async def json(self) -> Any:
        """The parsed body.

        Raises:
            InvalidJson: see `parse`.
        """
        if not hasattr(self, "_value"):
            self._value = parse(await self.body())
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
