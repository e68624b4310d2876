"""A place of a key's concurrency comes back on every way out, and a slow body holds it no longer than it may."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Scope

from app.api import live_keys
from app.api.quotas import Quota
from app.errors import QuotaExceeded
from app.keys import KeyEntry, KeyRing
from tests.api.edge import MODEL, RecordingMetrics, build
from tests.api.test_middleware import body, drive, http_scope
from tests.scoring_engine import ScoringEngine

pytestmark = pytest.mark.anyio
ENTRY = KeyEntry(id="k1", sha256=hashlib.sha256(b"secret").hexdigest(), tenant="acme", concurrency=1)
HEADERS = {"authorization": "Bearer secret", "content-type": "application/json"}
CLASSIFY = json.dumps({"model": MODEL, "input": "hello", "labels": ["a", "b"]}).encode()
LEFT: Message = {"type": "http.disconnect"}


@pytest.fixture
def quotas(monkeypatch: pytest.MonkeyPatch) -> list[Quota]:
    """Those that the application makes."""
    made = list[Quota]()

    def make(entry: KeyEntry) -> Quota:
        made.append(Quota(entry))
        return made[-1]

    monkeypatch.setattr(live_keys, "Quota", make)
    return made


def application(engine: ScoringEngine | None = None, seconds: float = 15.0) -> ASGIApp:
    def extend(app: FastAPI) -> None:
        @app.post("/broken")
        async def broken() -> None:
            raise RuntimeError

    keys = KeyRing([ENTRY])
    engine = engine or ScoringEngine()
    return build(engine, RecordingMetrics(), keys=keys, max_bytes=200, seconds=seconds, extend=extend)


def assert_free(quotas: list[Quota]) -> None:
    (quota,) = quotas
    quota.admit()
    with pytest.raises(QuotaExceeded):
        quota.admit()
    quota.release(0)


def dripping() -> list[Message]:
    return [body(b"{", more=True)]


def path(name: str, **fields: str) -> Scope:
    return http_scope(name, HEADERS | fields)


@pytest.mark.parametrize(
    ("scope", "messages", "status"),
    [
        (path("/v1/classify"), [body(CLASSIFY)], 200),
        (path("/v1/classify"), [body(b"{")], 400),
        (path("/nowhere"), [body(b"{}")], 404),
        (path("/version"), [body(b"{}")], 405),
        (path("/metrics"), [], 403),
        (path("/v1/classify", **{"content-length": "1000"}), [], 413),
        (path("/v1/classify"), [body(b"x" * 90, more=True)] * 3, 413),
        (path("/v1/classify"), [*dripping(), LEFT], None),
        (path("/v1/classify"), [LEFT], None),
        (path("/broken"), [body(b"{}")], 500),
    ],
)
async def test_a_place_comes_back(
    quotas: list[Quota], scope: Scope, messages: list[Message], status: int | None
) -> None:
    sent = await drive(application(), scope, messages)
    assert (sent[0]["status"] if sent else None) == status
    assert_free(quotas)


async def test_a_body_that_never_ends_gives_its_place_back_in_time(quotas: list[Quota]) -> None:
    sent = await drive(application(seconds=0.0), path("/v1/classify"), dripping())
    assert sent[0]["status"] == 408
    assert_free(quotas)


async def test_a_client_that_leaves_its_answer_gives_its_place_back(quotas: list[Quota]) -> None:
    engine = ScoringEngine(hold=True)
    await drive(application(engine), path("/v1/classify"), [body(CLASSIFY), LEFT])
    assert engine.aborted == [1]
    assert_free(quotas)


@pytest.mark.parametrize("leave", [OSError, asyncio.CancelledError])
async def test_a_connection_that_breaks_gives_its_place_back(
    quotas: list[Quota], leave: Callable[[], BaseException]
) -> None:
    incoming = [body(CLASSIFY)]

    async def receive() -> Message:
        return incoming.pop() if incoming else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: Message) -> None:
        raise leave()

    with contextlib.suppress(OSError, asyncio.CancelledError):
        await application()(path("/v1/classify"), receive, send)
    assert_free(quotas)
