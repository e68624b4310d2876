"""A loopback HTTP server whose answers a test scripts piece by piece."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

DONE = b"data: [DONE]\n\n"


class Exchange:
    """One request, and the way to answer it."""

    def __init__(
        self,
        path: str,
        headers: dict[str, str],
        body: Any,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.path = path
        self.headers = headers  # with lower-case names
        self.body = body
        self._reader = reader
        self._writer = writer

    async def begin(self, status: str = "200 OK", content_type: str = "text/event-stream") -> None:
        """Send the head of a chunked response."""
        head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n"
        self._writer.write(head.encode() + b"Connection: close\r\n\r\n")
        await self._writer.drain()

    async def send(self, data: bytes) -> None:
        """Send one chunk of the body."""
        self._writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self._writer.drain()

    async def finish(self) -> None:
        """End the body."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def left(self) -> None:
        """Wait until the client has closed the connection."""
        await self._reader.read()


@asynccontextmanager
async def serving(answer: Callable[[Exchange], Awaitable[None]]) -> AsyncIterator[str]:
    """A server that calls `answer` for each request; yields its base address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            pairs = (line.partition(": ") for line in head.split("\r\n")[1:] if line)
            headers = {name.lower(): value for name, _, value in pairs}
            length = int(headers.get("content-length", 0))
            body = json.loads(await reader.readexactly(length) or b"null")
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()  # the client has left before it asked, as one that is stopped just then
            return
        try:
            await answer(Exchange(head.split(" ")[1], headers, body, reader, writer))
        except ConnectionError:
            pass  # the client has left
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def event(**fields: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def content(text: str) -> bytes:
    """A chat chunk."""
    return event(choices=[{"index": 0, "delta": {"content": text}}])


def usage(prompt: int, completion: int) -> bytes:
    """The usage chunk."""
    return event(choices=[], usage={"prompt_tokens": prompt, "completion_tokens": completion})
