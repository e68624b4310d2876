"""The application over a fake engine, on a real connection, with faults that a test plants in its answers."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.sse import ABORT
from app.metrics import Metrics
from app.server import uvicorn_config
from app.settings import Settings
from loadtests.reliability.fuzz.attempt import Site
from loadtests.reliability.fuzz.service import site_with_keys
from tests.api.conftest import MODEL, build_app, saying
from tests.fakes import FakeEngine

GOOD = b"order 4711"
DONE = b"data: [DONE]\n\n"


@dataclass
class Answer:
    """An answer before it is sent, and what it answers."""

    asked: bytes
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    cut: bool = False


@dataclass
class Planted:
    """Changes answers: those to the good question by `good`, others by their path."""

    app: ASGIApp
    by_path: Mapping[str, Callable[[Answer], None]] = field(default_factory=dict)
    good: Callable[[Answer], None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        asked, more = b"", True
        while more:
            message = await receive()
            asked += message.get("body", b"")
            more = message.get("more_body", False)
        answer = await self._answer(scope, asked, receive)
        if change := self._change(scope, asked):
            change(answer)
        await _tell(answer, scope, send)

    def _change(self, scope: Scope, asked: bytes) -> Callable[[Answer], None] | None:
        if GOOD in asked:
            return self.good
        return self.by_path.get(scope["path"])

    async def _answer(self, scope: Scope, asked: bytes, receive: Receive) -> Answer:
        parts: list[Message] = []
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": asked}

        async def keep(message: Message) -> None:
            parts.append(message)

        await self.app(scope, replay, keep)
        if not parts:  # the client left
            return Answer(asked, 400, [], b"", cut=True)
        body = b"".join(part.get("body", b"") for part in parts[1:])
        return Answer(asked, parts[0]["status"], list(parts[0]["headers"]), body)


async def _tell(answer: Answer, scope: Scope, send: Send) -> None:
    length = (b"content-length", str(len(answer.body)).encode())
    headers = [(name, value) for name, value in answer.headers if name != b"content-length"]
    await send({"type": "http.response.start", "status": answer.status, "headers": [*headers, length]})
    if answer.cut:
        await send({"type": "http.response.body", "body": answer.body[:9], "more_body": True})
        return scope["extensions"][ABORT]["abort"]()  # type: ignore[no-any-return]
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


def fails(answer: Answer) -> None:
    """What an unhandled exception makes of it."""
    answer.status, answer.body = 500, b"Internal Server Error"


def echoes(answer: Answer) -> None:
    """An error that repeats the client's words."""
    if answer.status >= 400:
        words = re.sub(rb"[^A-Za-z0-9]", b"", answer.asked)[:2000]
        answer.body = answer.body.replace(b'"message":"', b'"message":"' + words)


def closes(answer: Answer) -> None:
    """The connection ends in the middle of the answer."""
    answer.cut = True


def never_done(answer: Answer) -> None:
    """A stream that just ends."""
    answer.body = answer.body.removesuffix(DONE)


def nameless(answer: Answer) -> None:
    """No request id."""
    answer.headers = [(name, value) for name, value in answer.headers if name != b"x-request-id"]


def undocumented(answer: Answer) -> None:
    """A success of another shape than the OpenAPI document says, or an error of another than ours."""
    answer.body = b'{"detail": 5}'


def unbalanced(answer: Answer) -> None:
    """Metrics that say that something is still open, and that an engine was replaced."""
    answer.body = re.sub(
        rb"(?m)^(repartee_(?:running_requests|engine_restarts_total)\{.*\}) .*$", rb"\1 1.0", answer.body
    )


def not_ready(answer: Answer) -> None:
    """A probe that fails."""
    answer.status, answer.body = 503, b'{"status": "stuck"}'


class Drifting:
    """Another answer to the same question, some time after the first."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, answer: Answer) -> None:
        self.asked += 1
        if self.asked > 2:
            answer.body = answer.body.replace(b"Hello", b"Hallo")


@asynccontextmanager
async def serving(directory: Path, plant: Callable[[ASGIApp], ASGIApp]) -> AsyncIterator[Site]:
    """A server for it on a free loopback port."""
    keys = directory / "keys.json"
    site = site_with_keys(0, MODEL, keys)
    app = build_app(FakeEngine(script=saying("Hello!")), api_keys_file=keys)
    settings = Settings(host="127.0.0.1", port=0)
    config = uvicorn_config(plant(app), settings, Metrics(MODEL))
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Site(site.host, port, site.model, site.key, site.narrow, site.limited)
    finally:
        server.should_exit = True
        await task
