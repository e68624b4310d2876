"""Bytes to the service and back: a client that sends what no HTTP library would, and reads strictly."""

import asyncio
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from loadtests.reliability.fuzz.attempt import Attempt

_MOST_BYTES = 64 * 1024 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [ -~]*\Z")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t -~\x80-\xff]*)\Z")
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)\r\n")


class End(Enum):
    """How a connection ended."""

    CLOSED = "the server closed it"
    RESET = "the server reset it"
    SILENT = "the server said no more"
    LEFT = "the client left"
    UNREACHABLE = "nobody listened"


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back, and within how many seconds."""

    data: bytes
    end: End
    seconds: float


class MalformedReply(Exception):
    """What the server wrote is no HTTP/1.1 response."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One response; `whole` is false where its end never came."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool


async def exchange(host: str, port: int, attempt: Attempt) -> Heard:
    """Send an input, and hear what the server says to it."""
    began = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return Heard(b"", End.UNREACHABLE, time.monotonic() - began)
    sending = asyncio.create_task(_send(writer, attempt))
    try:
        data, end = await _hear(reader, attempt, sending)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.transport.abort()
    return Heard(data, end, time.monotonic() - began)


async def _send(writer: asyncio.StreamWriter, attempt: Attempt) -> None:
    with suppress(OSError):  # a refusal may come, and the end with it, before all was sent
        for piece in attempt.pieces:
            if piece.pause:
                await asyncio.sleep(piece.pause)
            writer.write(piece.data)
            await writer.drain()
        if attempt.half_close:
            writer.write_eof()


async def _hear(
    reader: asyncio.StreamReader, attempt: Attempt, sending: "asyncio.Task[None]"
) -> tuple[bytes, End]:
    heard = bytearray()
    while len(heard) < _MOST_BYTES:
        if attempt.leave_after is not None and len(heard) >= attempt.leave_after:
            await sending
            return bytes(heard), End.LEFT
        try:
            async with asyncio.timeout(attempt.patience):
                data = await reader.read(1 << 16)
        except TimeoutError:
            if sending.done():
                return bytes(heard), End.SILENT
            continue
        except OSError:
            return bytes(heard), End.RESET
        if not data:
            return bytes(heard), End.CLOSED
        heard += data
    return bytes(heard), End.LEFT


def replies(data: bytes, methods: tuple[str, ...]) -> list[Reply]:
    """The responses in what was heard; the last one may lack its end.

    Raises:
        MalformedReply: something in it is no response.
    """
    found: list[Reply] = []
    while data:
        method = methods[len(found)] if len(found) < len(methods) else "GET"
        reply, data = _reply(data, method)
        if reply.status >= 200:
            found.append(reply)
    return found


def _reply(data: bytes, method: str) -> tuple[Reply, bytes]:
    raw, blank, rest = data.partition(b"\r\n\r\n")
    status_line, *lines = raw.split(b"\r\n")
    matched = _STATUS_LINE.match(status_line)
    fields = [_FIELD.match(line) for line in lines]
    if matched is None or not blank or not all(fields):
        raise MalformedReply(f"no head of a response: {raw[:80]!r}")
    headers: dict[str, str] = {}
    for one in fields:
        assert one is not None
        headers[one[1].decode().lower()] = one[2].decode("latin-1")
    status = int(matched[1])
    if method == "HEAD" or status < 200 or status in (204, 304):
        return Reply(status, headers, b"", True), rest
    if headers.get("transfer-encoding") == "chunked":
        body, whole, rest = _chunks(rest)
        return Reply(status, headers, body, whole), rest
    if "content-length" not in headers:
        raise MalformedReply("a response without a length")
    length = int(headers["content-length"])
    return Reply(status, headers, rest[:length], len(rest) >= length), rest[length:]


def _chunks(data: bytes) -> tuple[bytes, bool, bytes]:
    """Body, whether its end was there, and what follows."""
    body = bytearray()
    while True:
        size = _CHUNK.match(data)
        if size is None:
            if b"\r\n" in data[:18]:
                raise MalformedReply("no chunk")
            return bytes(body), False, b""
        length, start = int(size[1], 16), size.end()
        if len(data) < start + length + 2:
            return bytes(body) + data[start : start + length], False, b""
        if data[start + length : start + length + 2] != b"\r\n":
            raise MalformedReply("a chunk without its end")
        body += data[start : start + length]
        data = data[start + length + 2 :]
        if not length:
            return bytes(body), True, data
