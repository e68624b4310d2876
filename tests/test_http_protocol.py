"""The connection: what is not well-formed, too large or too slow never reaches the application."""

import asyncio
import json
import logging
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.http_protocol import StrictProtocol
from app.metrics import Metrics
from app.settings import Settings

pytestmark = pytest.mark.anyio

QUICK = Settings(header_seconds=0.2)
LARGE = bytes(8_000_000)
"""More than the kernel takes of what nobody reads."""


class Application:
    """Says `begun` and `ended`, on `/slow` the second when it is released, on `/early` without waiting for a body.

    On `/late` it begins when it is released, on `/never` it waits until the client has left, and on `/large` it also
    says `LARGE`.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.released, self.left = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        body, more = b"", scope["path"] != "/early"
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        if scope["path"] == "/never":
            while (await receive())["type"] != "http.disconnect":
                pass
            return self.left.set()
        if scope["path"] == "/late":
            await self.released.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        if scope["path"] == "/large":
            await send({"type": "http.response.body", "body": LARGE, "more_body": True})
        if scope["path"] == "/slow":
            await self.released.wait()
        await send({"type": "http.response.body", "body": b"ended"})


class Served:
    """A server with the protocol, and what was asked of it."""

    def __init__(self, application: Application, metrics: Metrics, server: uvicorn.Server) -> None:
        self.application, self.metrics = application, metrics
        self.port = server.servers[0].sockets[0].getsockname()[1]
        self.connections = server.server_state.connections

    async def say(self, *parts: bytes, wait: float = 0.0) -> bytes:
        """All that comes back until the server ends the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = asyncio.create_task(reader.read())
        try:
            for part in parts:
                if not answer.done():
                    writer.write(part)
                    await asyncio.wait([answer], timeout=wait)
            return await asyncio.wait_for(answer, 10)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def half_closed(self, request_: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of a client that has said all that it will ever say."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request_)
        writer.write_eof()
        return reader, writer

    def refusals(self) -> list[str]:
        """The samples of what was refused before there was a route."""
        text = self.metrics.render("")[0].decode()
        return [
            line for line in text.splitlines() if 'route="unmatched"' in line and 'method="other"' in line
        ]


@asynccontextmanager
async def serving(settings: Settings | None = None, most_connections: int = 100) -> AsyncIterator[Served]:
    application, metrics = Application(), Metrics("toy")
    protocol = partial(
        StrictProtocol, metrics=metrics, settings=settings or Settings(), most_connections=most_connections
    )
    config = uvicorn.Config(
        application,
        port=0,
        http=protocol,  # type: ignore[arg-type]
        lifespan="off",
        log_config=None,
        access_log=False,
        ws="none",
        timeout_keep_alive=1,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield Served(application, metrics, server)
    finally:
        application.released.set()
        server.should_exit = True
        await task


def head(*lines: str, path: str = "/", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def error_of(answer: bytes) -> tuple[int, str]:
    """Status and code of the one error that came back, in the documented shape."""
    top, _, body = answer.partition(b"\r\n\r\n")
    lines = top.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert re.fullmatch("req_[0-9a-f]{32}", fields["x-request-id"])
    assert fields["connection"] == "close" and fields["content-type"] == "application/json"
    assert int(fields["content-length"]) == len(body)
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error"
    return int(lines[0].split()[1]), error["code"]


CLOSE = "connection: close"
HOST = "host: x"


async def test_well_formed_requests_are_served() -> None:
    async with serving() as served:
        answer = await served.say(head(HOST, CLOSE))
        assert answer.startswith(b"HTTP/1.1 200") and answer.count(b"begun") == 1
        both = await served.say(head(HOST, path="/a") + head(HOST, CLOSE, path="/b"))
        assert both.count(b"HTTP/1.1 200") == 2
        body = head(HOST, CLOSE, "transfer-encoding: chunked", method="POST", path="/c")
        assert b" 200 " in await served.say(body, b"3\r\nabc\r\n0\r\n\r\n")
        assert b" 200 " in await served.say(b"GET /d HTTP/1.0\r\n\r\n")
        assert served.application.paths == ["/", "/a", "/b", "/c", "/d"]
        assert not [line for line in served.refusals() if not line.endswith(" 0.0")]


LONG = "a: " + "b" * 10_000
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        head(),
        head(HOST, HOST),
        head(HOST, "host: y"),
        head(HOST, "content-length: 3", "transfer-encoding: chunked", method="POST") + b"0\r\n\r\n",
        head(HOST, "transfer-encoding: chunked", "content-length: 3", method="POST") + b"0\r\n\r\n",
        head(HOST, "content-length: 3", "content-length: 4", method="POST") + b"abc",
        head(HOST, "content-length: 3", "content-length: 3", method="POST") + b"abc",
        head(HOST, "content-length: +3", method="POST") + b"abc",
        head(HOST, "content-length: 3, 3", method="POST") + b"abc",
        head(HOST, "content-length: -1", method="POST"),
        head(HOST, "transfer-encoding: gzip, chunked", method="POST") + b"0\r\n\r\n",
        head(HOST, "transfer-encoding: chunked", "transfer-encoding: chunked", method="POST") + b"0\r\n\r\n",
        head(HOST, "transfer-encoding: identity", method="POST"),
        head(HOST, "content-length: 3", "content-length: 4", CLOSE, method="POST"),
        head(HOST, "content-length:", method="POST"),
        head(HOST, "transfer-encoding : chunked", method="POST") + b"0\r\n\r\n",
        head(HOST, "transfer-encoding: xchunked", method="POST") + b"0\r\n\r\n",
        b"POST / HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\nhost: x\n\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nna me: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nname: \x00\r\n\r\n",
        b"GET / HTTP/3.0\r\nhost: x\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\n\r\n",
        b"CONNECT /x HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: y\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
    ],
)
async def test_what_is_not_well_formed_is_refused_and_what_follows_never_runs(request_: bytes) -> None:
    async with serving() as served:
        assert error_of(await served.say(request_ + SMUGGLED)) == (400, "malformed_http")
        assert served.application.paths == []
        assert served.refusals()[-1].endswith('status="4xx"} 1.0')


@pytest.mark.parametrize(
    "chunks", [b"zz\r\nabc\r\n", b"3\r\nabcd\r\n", b"3\nabc\r\n", b"3\r\nabc\n", b"-1\r\n"]
)
async def test_a_chunk_in_doubt_ends_the_connection(chunks: bytes) -> None:
    """The application may have begun already: then there is no answer that could be told from its own."""
    async with serving() as served:
        top = head(HOST, "transfer-encoding: chunked", method="POST", path="/chunks")
        answer = await served.say(top + chunks + b"0\r\n\r\n" + SMUGGLED)
        assert b"200" not in answer
        assert "/smuggled" not in served.application.paths


@pytest.mark.parametrize("begun", [b"3;extension=", b"0\r\ntrailer: ", b"0\r\n"])
async def test_what_never_ends_around_a_body_is_cut(begun: bytes) -> None:
    async with serving() as served:
        top = head(HOST, "transfer-encoding: chunked", method="POST", path="/chunks")
        endless = b"a: b\r\n" * 1000 if begun.endswith(b"\n") else b"a" * 6000
        assert await served.say(top + begun, *[10 * endless] * 20, wait=0.01) == b""
        assert served.application.paths == ["/chunks"]


async def test_a_body_in_chunks_of_one_byte_is_served() -> None:
    async with serving() as served:
        top = head(HOST, CLOSE, "transfer-encoding: chunked", method="POST")
        assert b" 200 " in await served.say(top + b"1;a=b\r\nx\r\n" * 20_000 + b"0\r\nt: r\r\n\r\n")


async def test_the_parts_of_a_body_are_not_copied_for_each_other_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """uvicorn's way takes time in the square of a read's parts, in which the event loop serves nobody."""
    handed_on = list[int]()
    whole = HttpToolsProtocol.on_body

    def count(self: HttpToolsProtocol, body: bytes) -> None:
        handed_on.append(len(body))
        whole(self, body)

    monkeypatch.setattr(HttpToolsProtocol, "on_body", count)
    async with serving() as served:
        top = head(HOST, CLOSE, "transfer-encoding: chunked", method="POST")
        assert b" 200 " in await served.say(top + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
    assert sum(handed_on) == 50_000 and len(handed_on) < 500


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (head(HOST, path="/" + "a" * 8192), (414, "url_too_long")),
        (b"GET /" + b"a" * 60_000, (414, "url_too_long")),
        (head(HOST, *[f"a{number}: b" for number in range(64)]), (431, "headers_too_large")),
        (head(HOST, "a: " + "b" * 16_400), (431, "headers_too_large")),
        (head(HOST, *[f"a{number}: {'b' * 1000}" for number in range(20)]), (431, "headers_too_large")),
        (head(HOST)[:-2] + b"a: " + b"b" * 30_000, (431, "headers_too_large")),
        (head(HOST)[:-2] + b"a" * 30_000, (431, "headers_too_large")),
    ],
)
async def test_a_head_that_is_too_large_is_refused(request_: bytes, expected: tuple[int, str]) -> None:
    async with serving() as served:
        assert error_of(await served.say(request_)) == expected
        assert served.application.paths == []


async def test_a_head_at_its_bounds_is_served() -> None:
    async with serving() as served:
        fields = [HOST, CLOSE, *[f"a{number}: b" for number in range(61)]]
        fields.append("z: " + "b" * (16 * 1024 - sum(len(field) + 2 for field in fields) - 5))
        assert b" 200 " in await served.say(head(*fields, path="/" + "a" * 8191))


async def test_a_head_is_not_charged_for_what_comes_before_it() -> None:
    """They may come in one read, which ends within the head."""
    async with serving() as served:
        before = head(HOST, "content-length: 60000", method="POST") + bytes(60_000)
        last = head(HOST, CLOSE, path="/b")
        assert (await served.say(before + last[:9], last[9:], wait=0.1)).count(b" 200 ") == 2
        assert error_of(await served.say(head(HOST)[:-2] + b"a" * 30_000)) == (431, "headers_too_large")


async def test_a_slow_head_is_refused_and_silence_is_closed() -> None:
    async with serving(QUICK) as served:
        assert error_of(await served.say(b"GET / HT")) == (408, "request_timeout")
        dripping = [b"GET / HTTP/1.1\r\n", *[b"a: b\r\n"] * 20]
        assert error_of(await served.say(*dripping, wait=0.05)) == (408, "request_timeout")
        assert await served.say() == b""
        assert served.application.paths == []


async def test_a_slow_answer_and_a_slow_body_are_no_slow_head() -> None:
    async with serving(QUICK) as served:
        asking = asyncio.create_task(served.say(head(HOST, CLOSE, path="/slow")))
        body = head(HOST, CLOSE, "content-length: 6", method="POST", path="/body")
        assert b" 200 " in await served.say(body, b"abc", b"def", wait=0.3)
        served.application.released.set()
        assert (await asking).count(b"ended") == 1


async def test_a_connection_between_two_requests_is_closed_after_a_while() -> None:
    async with serving(QUICK) as served:
        answer = await served.say(head(HOST))
        assert answer.count(b" 200 ") == 1 and b"error" not in answer


@pytest.mark.parametrize("second", [b"nonsense\r\n\r\n", head(HOST, HOST), head(HOST, path="/" + "a" * 9000)])
async def test_an_answer_under_way_is_cut_and_no_error_is_written_into_it(second: bytes) -> None:
    async with serving() as served:
        answer = await served.say(head(HOST, path="/slow"), second, wait=0.2)
        assert b"error" not in answer and b"ended" not in answer.partition(b"begun")[2]
        assert served.application.paths == ["/slow"]


@pytest.mark.parametrize(
    ("setting", "request_", "expected"),
    [
        ({"max_url_bytes": 300}, head(HOST, CLOSE, path="/" + "a" * 300), 414),
        ({"max_url_bytes": 9000}, head(HOST, CLOSE, path="/" + "a" * 8900), 200),
        ({"max_header_bytes": 1024}, head(HOST, CLOSE, "a: " + "b" * 1100), 431),
        ({"max_header_bytes": 40_000}, head(HOST, CLOSE, "a: " + "b" * 30_000), 200),
        ({"max_header_fields": 8}, head(HOST, CLOSE, *[f"a{number}: b" for number in range(7)]), 431),
        ({"max_header_fields": 100}, head(HOST, CLOSE, *[f"a{number}: b" for number in range(90)]), 200),
    ],
)
async def test_each_bound_of_a_head_is_a_setting(
    setting: dict[str, int], request_: bytes, expected: int
) -> None:
    async with serving(Settings(**setting)) as served:  # type: ignore[arg-type]
        assert int((await served.say(request_)).split()[1]) == expected


async def test_one_connection_too_many_is_refused_and_the_others_are_served() -> None:
    async with serving(most_connections=2) as served:
        held = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(2)]
        while len(served.connections) < 2:
            await asyncio.sleep(0.01)
        answer = await served.say()
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable") and b"retry-after: " in answer
        assert b'"code":"server_is_overloaded"' in answer
        reader, writer = held[0]
        writer.write(head(HOST, CLOSE))
        assert b" 200 " in await reader.read()
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        while served.connections:
            await asyncio.sleep(0.01)
        assert b" 200 " in await served.say(head(HOST, CLOSE))


async def test_an_idle_connection_keeps_nothing_of_its_request() -> None:
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"0\r\n\r\n")
        (connection,) = served.connections
        assert connection.cycle is None
        writer.write(b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"0\r\n\r\n")
        assert served.application.paths == ["/", "/again"]
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("begun", [b"", b"GET /before HTTP/1.1\r\nHost: a\r\n\r\n"])
async def test_a_request_on_its_way_at_the_end_of_the_service_is_answered(begun: bytes) -> None:
    """The connection is new or was kept; then it ends, as one does that nothing is asked on."""
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        silent, other = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(begun)
        if begun:
            await reader.readuntil(b"0\r\n\r\n")
        while len(served.connections) < 2:
            await asyncio.sleep(0.01)
        for connection in served.connections:
            connection.shutdown()
        writer.write(head(HOST, path="/last"))
        assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)
        assert await asyncio.wait_for(silent.read(), 10) == b""
        writer.close()
        other.close()


async def test_a_head_that_never_ends_does_not_keep_the_service() -> None:
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET / HTTP/1.1\r\n")
        while not served.connections or not next(iter(served.connections))._in_head:
            await asyncio.sleep(0.01)
        for connection in served.connections:
            connection.shutdown()
        assert await asyncio.wait_for(reader.read(), 5) == b""  # sooner than the time for a head ends
        writer.close()


async def test_a_body_that_is_still_sent_after_its_answer_is_no_other_request() -> None:
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n0123456789")
        assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(b"0123456789")
        await asyncio.sleep(0.05)
        writer.write(b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert served.application.paths == ["/early", "/again"]
        (connection,) = served.connections
        assert connection.cycle is None
        writer.close()
        await writer.wait_closed()


async def test_white_space_behind_a_length_is_none_of_its_digits() -> None:
    async with serving() as served:
        answer = await served.say(head(HOST, CLOSE, "content-length: 3 \t", method="POST") + b"abc")
        assert b" 200 " in answer and served.application.bodies == [b"abc"]


OFFER = "connection: upgrade\r\nupgrade: "


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_body_of_who_offers_another_protocol_is_a_body(
    protocol: str, apart: bool, chunked: bool
) -> None:
    """Java's client offers h2c with its first request; and a body that were read as a request would be smuggled."""
    framing = "transfer-encoding: chunked" if chunked else f"content-length: {len(SMUGGLED)}"
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED) if chunked else SMUGGLED
    top = head(HOST, OFFER + protocol, framing, method="POST", path="/a")
    after = head(HOST, CLOSE, path="/b")
    async with serving() as served:
        answer = await served.say(*([top, body, after] if apart else [top + body + after]), wait=0.1)
        assert answer.count(b" 200 ") == 2
        assert served.application.paths == ["/a", "/b"] and served.application.bodies == [SMUGGLED, b""]


async def test_many_offers_in_one_read_are_as_many_requests() -> None:
    async with serving() as served:
        offers = head(HOST, OFFER + "h2c", path="/a") * 500
        assert (await served.say(offers + head(HOST, CLOSE, path="/b"))).count(b" 200 ") == 501


async def test_an_offer_is_bounded_as_any_head() -> None:
    async with serving() as served:
        assert error_of(await served.say(head(HOST, OFFER + "b" * 16_400))) == (431, "headers_too_large")
        assert error_of(await served.say(head(OFFER + "h2c"))) == (400, "malformed_http")
        assert served.application.paths == []


async def test_strangers_write_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as served:
        caplog.set_level(logging.INFO)
        for request_ in (
            b"hello\r\n\r\n",
            b"\x16\x03\x01",
            head(HOST, HOST),
            head(HOST, OFFER + "h2c", CLOSE),
        ):
            await served.say(request_)
        assert [record.name for record in caplog.records] == [
            "app.access"
        ] * 3  # the application logs its own


@pytest.mark.parametrize("path", ["/", "/slow", "/late"])
async def test_a_client_that_ends_its_side_is_answered(path: str) -> None:
    async with serving() as served:
        reader, writer = await served.half_closed(head(HOST, path=path))
        if path == "/late":
            await reader.readuntil(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif path == "/slow":
            await reader.readuntil(b"begun")
        served.application.released.set()
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.endswith(b"ended\r\n0\r\n\r\n") and (path == "/slow" or b"HTTP/1.1 200 OK" in answer)
        writer.close()
        await writer.wait_closed()


async def test_all_answers_reach_a_client_that_ends_its_side_after_several_requests() -> None:
    async with serving() as served:
        served.application.released.set()
        requests = b"".join(head(HOST, path=path) for path in ("/slow", "/late", "/"))
        reader, writer = await served.half_closed(requests)
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.count(b"HTTP/1.1 200 OK") == answer.count(b"ended") == 3
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_leaves_before_its_answer_is_missed() -> None:
    async with serving() as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head(HOST, path="/never"))
        while not served.application.bodies:
            await asyncio.sleep(0.01)
        writer.close()
        await asyncio.wait_for(served.application.left.wait(), 10)


@pytest.mark.parametrize(
    "waiting",
    [
        head(HOST, path="/late"),
        head(HOST, "content-length: 200000", method="POST", path="/late") + bytes(150_000),
        head(HOST, LONG, path="/late") * 200,
    ],
    ids=["a request", "a part of one", "too many"],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_who_leaves_with_requests_that_wait_is_missed_and_they_never_run(
    waiting: bytes, reset: bool
) -> None:
    async with serving() as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head(HOST) + head(HOST, path="/never"))
        while len(served.application.bodies) < 2:
            await asyncio.sleep(0.01)
        writer.write(waiting)
        await asyncio.wait_for(writer.drain(), 10)
        if reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        await asyncio.wait_for(served.application.left.wait(), 10)
        assert served.application.paths == ["/", "/never"]


async def test_requests_that_wait_are_read_whole_and_answered_in_order() -> None:
    body = bytes(range(256)) * 1000
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        length = f"content-length: {len(body)}"
        writer.write(head(HOST, path="/slow") + head(HOST, length, method="POST", path="/b"))
        await reader.readuntil(b"begun")
        writer.write(body + head(HOST, CLOSE, path="/c"))
        (connection,) = served.connections
        async with asyncio.timeout(10):
            while connection.cycle.scope["path"] != "/c":
                await asyncio.sleep(0.01)
        assert served.application.paths == ["/slow"]
        served.application.released.set()
        assert (await asyncio.wait_for(reader.read(), 10)).count(b"ended") == 3
        assert served.application.paths == ["/slow", "/b", "/c"]
        assert served.application.bodies == [b"", body, b""]
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("path", ["/slow", "/late"])
async def test_who_sends_too_much_ahead_gets_the_answer_under_way_and_no_other(path: str) -> None:
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head(HOST, path=path))
        while not served.application.paths:
            await asyncio.sleep(0.01)
        for _ in range(4):
            writer.write(head(HOST, LONG, path="/smuggled") * 50)
            await asyncio.wait_for(writer.drain(), 10)
        (connection,) = served.connections
        async with asyncio.timeout(10):
            while connection.parser is not None:
                await asyncio.sleep(0.01)
        served.application.released.set()
        answer = await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)
        assert answer.count(b"ended") == 1 and (CLOSE.encode() in answer) == (path == "/late")
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        assert served.application.paths == [path]
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def test_who_ends_its_side_is_asked_again_and_again() -> None:
    """If each wait were twice the last without end, the twelfth asking would come after 40 s."""
    async with serving() as served:
        reader, writer = await served.half_closed(head(HOST, path="/late") + head(HOST))
        async with asyncio.timeout(10):
            for _ in range(12):
                await reader.readuntil(b"HTTP/1.1 100 Continue\r\n\r\n")
        served.application.released.set()
        assert (await asyncio.wait_for(reader.read(), 10)).count(b"ended") == 2
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /never HTTP/1.0\r\n\r\n",  # which cannot be asked whether it is there
        head(HOST, "content-length: 3", method="POST", path="/never") + b"ab",
        head(HOST, path="/never") + b"GET /half HT",
    ],
)
async def test_who_ends_its_side_in_the_middle_or_cannot_be_asked_counts_as_gone(request_: bytes) -> None:
    async with serving() as served:
        reader, writer = await served.half_closed(request_)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        if b"content-length" not in request_:
            await asyncio.wait_for(served.application.left.wait(), 10)
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("more", [b"\r\n", b"x"])
async def test_what_is_no_request_keeps_no_connection_open(more: bytes) -> None:
    """A line end, or the rest of a body that was answered before it was whole."""
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        length, path = ("content-length: 10", "/early") if more == b"x" else ("content-length: 0", "/")
        writer.write(head(HOST, length, method="POST", path=path))
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(more)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        await writer.wait_closed()


async def test_a_request_that_begins_within_an_answer_has_its_own_time() -> None:
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        second = head(HOST, CLOSE, path="/late")
        writer.write(head(HOST, path="/slow") + second[:5])
        await reader.readuntil(b"begun")
        served.application.released.set()
        await reader.readuntil(b"0\r\n\r\n")
        served.application.released.clear()
        writer.write(second[5:])
        await asyncio.sleep(1.5)  # longer than a connection may be idle
        served.application.released.set()
        assert (await reader.read()).endswith(b"ended\r\n0\r\n\r\n")
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def who_reads_little(served: Served, request_: bytes) -> AsyncIterator[socket.socket]:
    """A client whose system takes next to nothing that it does not read."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", served.port))
        await asyncio.get_running_loop().sock_sendall(client, request_)
        yield client


@pytest.mark.parametrize("fields", [[HOST], [HOST, CLOSE]])
@pytest.mark.parametrize("limit", [None, 1 << 30])
async def test_who_reads_nothing_is_cut_off(fields: list[str], limit: int | None) -> None:
    """With such a limit the transport never says that much is unread: so it is where little is."""
    async with serving(Settings(write_stall_seconds=0.2)) as served, who_reads_little(served, b"") as client:
        while not served.connections:
            await asyncio.sleep(0.01)
        (connection,) = served.connections
        connection.transport.set_write_buffer_limits(limit)
        await asyncio.get_running_loop().sock_sendall(client, head(*fields, path="/large"))
        while not served.application.paths:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(10):
            while served.connections:
                await asyncio.sleep(0.01)


async def test_who_reads_slowly_gets_all() -> None:
    async with (
        serving(Settings(write_stall_seconds=1)) as served,
        who_reads_little(served, head(HOST, CLOSE, path="/large")) as client,
    ):
        came = 0
        while piece := await asyncio.get_running_loop().sock_recv(client, 200_000):
            came += len(piece)
            await asyncio.sleep(len(piece) / 4_000_000)
        assert came > len(LARGE)
