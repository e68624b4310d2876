"""The client keeps its connection when it is refused, as the clients that people use do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from app.bench.http_stream import Connections, RequestFailed, post

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(*pieces: bytes) -> AsyncIterator[tuple[str, list[asyncio.Task[None]]]]:
    """A server that answers every request with the pieces, apart; its address, and a task for each connection."""
    made: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.append(asyncio.current_task())  # type: ignore[arg-type]
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.02)
                if b"close" in pieces[0]:
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/", made
        await asyncio.gather(*made)


async def refusal(url: str, connections: Connections) -> RequestFailed:
    async with asyncio.timeout(10):
        with pytest.raises(RequestFailed) as raised:
            await post(url, None, connections)
    return raised.value


HEAD = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\n"


async def test_a_refusal_is_read_to_its_end_and_its_connection_used_again() -> None:
    connections = Connections()
    async with serving(HEAD + b"Content-Length: 8\r\n\r\n", b"too ", b"late") as (url, made):
        for _ in range(3):
            error = await refusal(url, connections)
            assert (error.status, error.retry_after, error.body) == (503, "7", b"too late")
        connections.close()
    assert len(made) == 1


@pytest.mark.parametrize("framing", [b"", b"Content-Length: 8\r\n"])
async def test_a_refusal_that_ends_with_its_connection_is_one(framing: bytes) -> None:
    connections = Connections()
    async with serving(HEAD + framing + b"Connection: close\r\n\r\n", b"too late") as (url, made):
        for _ in range(2):
            assert (await refusal(url, connections)).body == b"too late"
    assert len(made) == 2


async def test_of_an_endless_refusal_only_the_beginning_is_read() -> None:
    async with serving(HEAD + b"Content-Length: 100000000\r\n\r\n", b"x" * 200_000) as (url, made):
        error = await refusal(url, Connections())
    assert error.status == 503 and 0 < len(error.body) <= 200_000 and len(made) == 1
