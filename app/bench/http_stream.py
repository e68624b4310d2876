"""One HTTP request and its answer's body as it arrives: little work beside the server's."""

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import SplitResult, urlsplit

import httptools

_READ_BYTES = 65536
_IDLE_SECONDS = 4.0
"""uvicorn closes a connection that was idle for five seconds."""
_PORTS = {"http": 80, "https": 443}


class RequestFailed(Exception):
    """The server answered with another status than 200, or broke off; the message is one line.

    Attributes:
        status: the other status; 0 where it broke off.
        retry_after: of the answer, as the server wrote it.
        body: of the answer, or its beginning where it is long.
    """

    def __init__(self, message: str, status: int = 0, retry_after: str = "", body: bytes = b"") -> None:
        super().__init__(message)
        self.status, self.retry_after, self.body = status, retry_after, body


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Connections:
    """Connections to one server that wait to be used again, so that not every request pays for a new one.

    Attributes:
        key: the API key sent with every request, or an empty string.
    """

    key: str = ""
    _idle: list[tuple[float, Stream]] = field(default_factory=list)

    def __enter__(self) -> "Connections":
        """Closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close those that wait."""
        self.close()

    async def take(self, address: SplitResult) -> Stream:
        """A connection that was idle for a short time only, or a new one.

        Raises:
            OSError: none can be made.
        """
        while self._idle:
            since, stream = self._idle.pop()
            if time.monotonic() - since < _IDLE_SECONDS and not stream[0].at_eof():
                return stream
            stream[1].close()
        return await connect(address)

    def give_back(self, stream: Stream) -> None:
        """Keep a connection whose answer was whole."""
        self._idle.append((time.monotonic(), stream))

    def close(self) -> None:
        """Close those that wait."""
        while self._idle:
            self._idle.pop()[1][1].close()


async def connect(address: SplitResult) -> Stream:
    """A new connection, with TLS for https.

    Raises:
        OSError: it cannot be made.
    """
    context = _tls() if address.scheme == "https" else None
    port = address.port or _PORTS[address.scheme]
    return await asyncio.open_connection(address.hostname, port, ssl=context)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Response:
    """What httptools' parser calls back.

    Attributes:
        complete: the answer is whole.
        keeps: and the connection may be used again. Only now: the parser then forgets the head that says so.
    """

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.body = bytearray()
        self.complete = self.keeps = False
        self.has_length = False
        self.retry_after = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.has_length = self.has_length or name in (b"content-length", b"transfer-encoding")
        if name == b"retry-after":
            self.retry_after = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True
        self.keeps = self.parser.should_keep_alive()


async def post_stream(
    url: str, body: bytes | None, connections: Connections | None = None
) -> AsyncGenerator[tuple[float, bytes], None]:
    """Send a JSON body, or GET without one; yield (arrival on `time.perf_counter`, bytes) for each piece of the answer.

    Args:
        connections: where a connection comes from and goes back to; without it the request has one of its own.

    Raises:
        RequestFailed: not a whole answer with status 200.
        OSError: there is no connection.
    """
    address = urlsplit(url)
    stream = await (connections.take(address) if connections else connect(address))
    reader, writer = stream
    response = _Response()
    try:
        writer.write(_head(address, body, connections) + (body or b""))
        parser = response.parser
        refusal = b""
        while not response.complete and len(refusal) < _READ_BYTES:
            data = await reader.read(_READ_BYTES)
            arrived = time.perf_counter()
            if not data:
                if parser.get_status_code() not in (0, 200):
                    break  # a refusal, whose body may end with the connection
                if not response.has_length and parser.get_status_code() == 200:
                    return  # the connection's end is the body's, as HTTP/1.0 has it
                raise RequestFailed("The connection ended within the answer.")
            try:
                parser.feed_data(data)
            except httptools.HttpParserError as error:
                raise RequestFailed(f"The answer is no HTTP: {error}") from error
            piece, response.body = bytes(response.body), bytearray()
            if parser.get_status_code() != 200:
                refusal += piece
            elif piece:
                yield arrived, piece
        _raise_unless_ok(parser.get_status_code(), refusal, response.retry_after)
    finally:
        if response.keeps and connections:
            connections.give_back(stream)
        else:
            writer.close()


async def post(url: str, body: bytes | None, connections: Connections | None = None) -> bytes:
    """Send a JSON body, or GET without one, and return the whole answer.

    Raises:
        RequestFailed: not a whole answer with status 200.
        OSError: there is no connection.
    """
    async with aclosing(post_stream(url, body, connections)) as pieces:
        return b"".join([piece async for _, piece in pieces])


def _head(address: SplitResult, body: bytes | None, connections: Connections | None) -> bytes:
    target = address.path + (f"?{address.query}" if address.query else "")
    lines = [f"{'GET' if body is None else 'POST'} {target} HTTP/1.1", f"Host: {address.netloc}"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    if connections is None:
        lines.append("Connection: close")
    elif connections.key:
        lines.append(f"Authorization: Bearer {connections.key}")
    return "\r\n".join([*lines, "", ""]).encode()


def _raise_unless_ok(status: int, body: bytes, retry_after: str) -> None:
    if status != 200:
        text = " ".join(body[:500].decode(errors="replace").split())
        raise RequestFailed(f"Status {status}: {text}", status, retry_after, body)
