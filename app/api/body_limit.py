"""Reads request bodies before the application does, and refuses those that are too long or too slow."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.middleware import send_error
from app.errors import BodyTimeout, BodyTooLarge, ReparteeError

CLOSE = {"connection": "close"}


class BodyLimitMiddleware:
    """Hands the application a body that is whole and within bounds, or answers 413 or 408.

    Args:
        max_bytes: longest body; a longer `Content-Length` is refused unread, a longer stream at the
            first byte over.
        seconds: time for the whole body to arrive.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event; only HTTP requests have bodies."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            self._check_declared(Headers(scope=scope).get("content-length", ""))
            async with asyncio.timeout(self._seconds):
                body = await self._read(receive)
        except TimeoutError:
            return await send_error(send, BodyTimeout(), scope["state"]["observation"], CLOSE)
        except ReparteeError as error:
            return await send_error(send, error, scope["state"]["observation"], CLOSE)
        if body is not None:
            await self._app(scope, _replay(body, receive), send)

    def _check_declared(self, length: str) -> None:
        if length.isdecimal() and (len(length) > 18 or int(length) > self._max_bytes):
            raise BodyTooLarge

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body; None when the client left before its end."""
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                raise BodyTooLarge
            more = message.get("more_body", False)
        return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once, and then what the client does."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
