"""Admission at the edge: what would be refused anyway is refused before its body is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from starlette.types import Message, Scope

from app.api import strict_json
from app.api.middleware import TASK_OF_PATH
from app.engine.admission import Work
from app.errors import Overloaded
from app.keys import new_key
from tests.api.conftest import build_app
from tests.fakes import FakeEngine

pytestmark = pytest.mark.anyio


async def answer_without_a_body(
    app: FastAPI,
    method: str,
    path: str,
    headers: dict[str, str],
    waited_for: Callable[[], None] = lambda: None,
) -> int | None:
    """The status that a client gets who never sends its body; None where the body is waited for."""
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    statuses: list[int] = []

    async def receive() -> Message:
        if not statuses:
            waited_for()
            raise InterruptedError
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    try:
        await app(scope, receive, send)
    except InterruptedError:
        return None
    return statuses[0] if statuses != [500] else None


@pytest.mark.parametrize(("path", "task"), TASK_OF_PATH.items())
async def test_a_refusal_waits_for_no_body(engine: FakeEngine, path: str, task: str) -> None:
    app = build_app(engine)
    assert await answer_without_a_body(app, "POST", path, {}) is None
    engine.refusal = Overloaded(1.0)
    assert await answer_without_a_body(app, "POST", path, {}) == 503
    assert engine.entered == [(task, "")] * 2
    assert engine.places == []


@pytest.mark.parametrize("path", ["/tokenize", "/nowhere"])
async def test_what_asks_for_no_inference_is_not_judged(
    client: httpx.AsyncClient, engine: FakeEngine, path: str
) -> None:
    engine.refusal = Overloaded(1.0)
    assert (await client.post(path, json={"prompt": "hello"})).status_code != 503
    assert engine.entered == []


async def test_the_tenant_is_that_of_the_key(engine: FakeEngine, tmp_path: Path) -> None:
    key, entry = new_key("acme")
    file = tmp_path / "keys.json"
    file.write_bytes(msgspec.json.encode([entry]))
    app = build_app(engine, api_keys_file=file)
    engine.refusal = Overloaded(1.0)
    authorization = {"authorization": f"Bearer {key}"}
    path = "/v1/chat/completions"
    assert await answer_without_a_body(app, "POST", path, authorization) == 503
    assert await answer_without_a_body(app, "POST", path, {}) == 401  # strangers learn nothing of the load
    assert engine.entered == [("chat", "acme")]


async def test_a_client_that_sends_its_body_slowly_holds_no_place(engine: FakeEngine) -> None:
    kept: list[int] = []
    path = "/v1/chat/completions"
    await answer_without_a_body(build_app(engine), "POST", path, {}, lambda: kept.append(len(engine.places)))
    assert kept == [0]


async def test_a_place_is_kept_until_the_tokens_are_counted(
    client: httpx.AsyncClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    admit = engine.admit
    parse = strict_json.parse

    def note(work: Work) -> None:
        kept.append(len(engine.places))
        admit(work)

    def note_parse(body: bytes) -> Any:
        kept.append(len(engine.places))
        return parse(body)

    engine.admit = note  # type: ignore[method-assign]
    monkeypatch.setattr(strict_json, "parse", note_parse)
    body = {"model": "toy", "messages": [{"role": "user", "content": "Hello"}]}
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    assert kept == [1, 0]
    assert (await client.post("/v1/chat/completions", json=body | {"model": "other"})).status_code == 404
    assert kept == [1, 0, 1]
    assert engine.places == []
