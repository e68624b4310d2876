"""The server with real sockets: a client that does not read loses its connection, whatever was written to it."""

import asyncio
import socket
from collections.abc import AsyncGenerator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.api.sse import EventStream, StreamLimits, event
from app.observation import Observation
from app.server import CannotListen, open_listeners, uvicorn_config
from app.settings import Settings

pytestmark = pytest.mark.anyio
STALL_SECONDS = 0.3


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that the service runs on: sockets are the loop's."""
    return "asyncio", {"use_uvloop": True}


async def _endless() -> AsyncGenerator[bytes, None]:
    while True:
        yield event(b"x" * 60_000)


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    stream = EventStream(_endless(), lambda: None, StreamLimits(15.0, STALL_SECONDS), Observation("r"))
    await stream(scope, receive, send)


async def test_a_client_that_does_not_read_keeps_no_socket() -> None:
    server = uvicorn.Server(uvicorn_config(_app, Settings(port=0)))
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listener]))
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    async with asyncio.timeout(30):
        while not server.started:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(client.connect, listener.getsockname())
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        while not server.server_state.connections:
            await asyncio.sleep(0.01)
        while server.server_state.connections:
            await asyncio.sleep(0.01)
    client.close()
    server.should_exit = True
    await asyncio.wait_for(serving, 30)


def test_a_port_in_use_is_told_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"^REPARTEE_PORT \({port}\) is in use on REPARTEE_HOST "):
            open_listeners(Settings(port=port))


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_told_in_one_sentence(host: str) -> None:
    with pytest.raises(CannotListen, match=r"REPARTEE_HOST \(.*\) and REPARTEE_PORT \(0\): .*\.$"):
        open_listeners(Settings(host=host, port=0))


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".com"])
def test_what_is_no_name_of_a_host_is_told_in_one_sentence(host: str) -> None:
    with pytest.raises(CannotListen, match=rf"^REPARTEE_HOST \({host}\) is no name of a host: .*\.$"):
        open_listeners(Settings(host=host, port=0))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_all_addresses_of_a_host_share_one_free_port(host: str) -> None:
    listeners = open_listeners(Settings(host=host, port=0))
    (port,) = {listener.getsockname()[1] for listener in listeners}
    with socket.create_connection(("127.0.0.1", port), 5):
        pass
    for listener in listeners:
        listener.close()
