"""The scripted server outlives clients that leave whenever they like."""

import asyncio
from urllib.parse import urlsplit

import pytest

from tests.sse_server import Exchange, serving


@pytest.mark.anyio
async def test_a_client_may_leave_before_it_has_asked() -> None:
    async def answer(_: Exchange) -> None:
        pytest.fail("nothing was asked")

    async with serving(answer) as base:
        for head in (b"", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"):
            reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(base).port)
            writer.write(head)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
