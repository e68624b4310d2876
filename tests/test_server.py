"""The server with real sockets: a client that does not read loses its connection, whatever was written to it."""

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app import server
from app.api.sse import EventStream, StreamLimits, event
from app.engine import process
from app.engine.client import AsyncEngine
from app.metrics import Metrics
from app.observation import Observation
from app.server import CannotListen, Server, open_listeners, uvicorn_config
from app.settings import Settings
from tests.engine.recording_observer import RecordingObserver

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that the service runs on: sockets are the loop's."""
    return "asyncio", {"use_uvloop": True}


async def _endless() -> AsyncGenerator[bytes, None]:
    while True:
        await asyncio.sleep(0)  # as any real source waits, so that others run when writes wait no more
        yield event(b"x" * 60_000)


async def _live(receive: Receive, send: Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


def _app(stall_seconds: float) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _live(receive, send)
        stream = EventStream(_endless(), lambda: None, StreamLimits(15.0, stall_seconds), Observation("r"))
        await stream(scope, receive, send)

    return app


async def _brief(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await _live(receive, send)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def _until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@asynccontextmanager
async def _unread_stream(server: uvicorn.Server) -> AsyncIterator["asyncio.Task[None]"]:
    """Serve one client that asks and does not read."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        serving = asyncio.create_task(server.serve([listener]))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with asyncio.timeout(30):
            await _until(lambda: server.started)
            await asyncio.to_thread(client.connect, listener.getsockname())
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await _until(lambda: server.server_state.connections)
            yield serving


async def test_a_client_that_does_not_read_keeps_no_socket() -> None:
    server = uvicorn.Server(uvicorn_config(_app(0.3), Settings(port=0), Metrics("toy")))
    async with _unread_stream(server) as serving:
        await _until(lambda: not server.server_state.connections)
        server.should_exit = True
        await serving


async def test_a_second_signal_cuts_off_who_does_not_read_after_the_drain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    settings = Settings(model="m", drain_delay_seconds=0, drain_seconds=3600)
    engine = AsyncEngine(settings.engine_config(), RecordingObserver())
    server = Server(uvicorn_config(_app(3600), settings, Metrics("toy")), engine, settings)
    async with _unread_stream(server) as serving:
        signal.raise_signal(signal.SIGTERM)
        await _until(lambda: any("Waiting for connections to close" in line for line in caplog.messages))
        signal.raise_signal(signal.SIGTERM)
        await serving
    assert server.cut_by == signal.SIGTERM
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == [
        "a second signal; open requests that are cut off: 1"
    ]


async def test_who_was_connected_when_the_port_closed_is_answered_and_told_that_it_was_the_last() -> None:
    """They wait to be accepted when the last tick ends the service: nothing runs between."""
    clients: list[socket.socket] = []

    class LastMoment(Server):
        async def on_tick(self, counter: int) -> bool:
            ends = await super().on_tick(counter)
            for _ in range(20 if ends else 0):
                clients.append(socket.create_connection(listener.getsockname()))
                clients[-1].sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            return ends

    settings = Settings(model="m", drain_delay_seconds=0, drain_seconds=10)
    engine = AsyncEngine(settings.engine_config(), RecordingObserver())
    server = LastMoment(uvicorn_config(_brief, settings, Metrics("toy")), engine, settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        async with asyncio.timeout(30):
            await _until(lambda: server.started)
            signal.raise_signal(signal.SIGTERM)
            await serving
    assert len(clients) == 20
    for client in clients:
        with client, client.makefile("rb") as reader:
            head = reader.read().lower()
            assert head.startswith(b"http/1.1 204") and head.count(b"connection: close") == 1


async def test_an_answer_that_begins_after_the_signal_is_its_connections_last() -> None:
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await go_on.wait()
        await _brief(scope, receive, send)

    settings = Settings(model="m", drain_delay_seconds=60)
    engine = AsyncEngine(settings.engine_config(), RecordingObserver())
    server = Server(uvicorn_config(app, settings, Metrics("toy")), engine, settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        async with asyncio.timeout(30):
            await _until(lambda: server.started)
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                await _until(lambda: server.server_state.tasks)
                signal.raise_signal(signal.SIGTERM)
                await _until(lambda: server._drain)
                go_on.set()
                answer = await asyncio.to_thread(client.recv, 4096)
            assert b"connection: close" in answer.lower()
            signal.raise_signal(signal.SIGTERM)
            await serving


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


async def test_the_limits_of_a_connection_are_those_of_the_settings() -> None:
    config = uvicorn_config(_app(0), Settings(port=0, max_url_bytes=256, idle_seconds=2.5), Metrics("toy"))
    assert config.timeout_keep_alive == 3
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET /" + b"a" * 256 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 414 ")
        writer.close()
        server.should_exit = True
        await serving


def test_what_is_waited_for_after_a_drain_is_less_than_the_second_that_is_promised() -> None:
    """For an engine that hangs, then for readers of the last event; uvicorn adds a tick and a pause of 0.1 s each."""
    assert process._STOP_SECONDS + server._LAST_BYTES_SECONDS + 0.2 < 1
