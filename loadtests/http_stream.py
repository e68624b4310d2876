"""One HTTP POST on a connection of its own, its body handed on as it arrives: little work beside the server's."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import urlsplit

import httptools

_READ_BYTES = 65536


class RequestFailed(Exception):
    """The server answered with another status than 200, or broke off."""


class _Response:
    """What httptools' parser calls back."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


async def post_stream(url: str, body: bytes) -> AsyncGenerator[tuple[float, bytes], None]:
    """Send a JSON body; yield (arrival on `time.perf_counter`, bytes) for each piece of the answer's body.

    Raises:
        RequestFailed: not a whole answer with status 200.
    """
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(_head(address.netloc, address.path, len(body)) + body)
        response = _Response()
        parser = httptools.HttpResponseParser(response)
        while not response.complete:
            data = await reader.read(_READ_BYTES)
            arrived = time.perf_counter()
            if not data:
                raise RequestFailed("The connection ended within the answer.")
            parser.feed_data(data)
            piece, response.body = bytes(response.body), bytearray()
            if piece and parser.get_status_code() == 200:
                yield arrived, piece
            elif piece or response.complete:
                _raise_unless_ok(parser.get_status_code(), piece)
    finally:
        writer.close()


async def post(url: str, body: bytes) -> bytes:
    """Send a JSON body and return the whole answer.

    Raises:
        RequestFailed: not a whole answer with status 200.
    """
    async with aclosing(post_stream(url, body)) as pieces:
        return b"".join([piece async for _, piece in pieces])


def _head(host: str, path: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ).encode()


def _raise_unless_ok(status: int, body: bytes) -> None:
    if status != 200:
        raise RequestFailed(f"Status {status}: {body[:500].decode(errors='replace')}")
