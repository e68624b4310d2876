"""The wiring: life of the engine, order of the layers."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.keys import new_key
from app.main import create_app
from app.metrics import Metrics
from app.settings import Settings
from tests.api.conftest import MODEL, build_app
from tests.exposition import value
from tests.fakes import FakeEngine
from tests.toy_tokenizer import toy_directory

pytestmark = pytest.mark.anyio


async def test_the_engine_lives_as_long_as_the_application() -> None:
    engine = FakeEngine()
    app = build_app(engine)
    async with app.router.lifespan_context(app):
        assert engine.started
    assert not engine.started


async def test_the_engine_gets_the_known_answers(tmp_path: Path) -> None:
    file = tmp_path / "answers.txt"
    file.write_text("Where is my order?")
    cases: list[tuple[dict[str, Any], bool]] = [({}, False), ({"answers_file": file}, True)]
    for settings, given in cases:
        for speculation in (True, False):
            engine = FakeEngine()
            app = build_app(engine, speculation=speculation, **settings)
            async with app.router.lifespan_context(app):
                assert bool(engine.answers) == (given and speculation)


async def test_a_model_may_bring_known_answers(tmp_path: Path) -> None:
    shutil.copytree(toy_directory(), tmp_path, dirs_exist_ok=True)
    (tmp_path / "answers.jsonl").write_text('"Where is my order?"')
    engine = FakeEngine()
    app = create_app(Settings(model=str(tmp_path)), engine)
    async with app.router.lifespan_context(app):
        assert engine.answers


async def test_keys_are_asked_for_before_the_body_and_after_the_preflight(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    key, entry = new_key("acme")
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    file.write_text(json.dumps([{"id": entry.id, "sha256": entry.sha256, "tenant": "acme"}]))
    engine = FakeEngine()
    app = build_app(engine, api_keys_file=file, cors_origins=["https://shop.example"], max_body_bytes=1024)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy") as client:
        path, body = "/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
        preflight = {"origin": "https://shop.example", "access-control-request-method": "POST"}
        assert (await client.options(path, headers=preflight)).status_code == 200
        huge = {"content-length": "99999", "content-type": "application/json"}
        assert (await client.post(path, headers=huge, content=b"")).status_code == 401
        bearer = {"authorization": f"Bearer {key}"}
        assert (await client.post(path, headers=huge | bearer, content=b"")).status_code == 413
        origin = {"origin": "https://shop.example"}
        answer = await client.post(path, headers=bearer | origin, json=body)
        assert answer.status_code == 200
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert engine.submitted[0].cache_salt == "acme"
    metrics: Metrics = app.state.services.metrics
    assert value(metrics, "tenant_requests_total", tenant="acme", outcome="ok") == 1
    assert value(metrics, "tenant_requests_total", tenant="-", outcome="rejected") == 1


@pytest.mark.parametrize(("setting", "status"), [({}, 401), ({"metrics_without_key": True}, 200)])
async def test_metrics_are_open_to_scrapers_without_a_key_only_where_that_is_said(
    tmp_path_factory: pytest.TempPathFactory, setting: dict[str, bool], status: int
) -> None:
    _, entry = new_key("acme")
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    file.write_text(json.dumps([{"id": entry.id, "sha256": entry.sha256, "tenant": "acme"}]))
    app = build_app(FakeEngine(), api_keys_file=file, **setting)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy") as client:
        assert (await client.get("/metrics")).status_code == status
        assert (await client.get("/version")).status_code == 401


@pytest.mark.parametrize(("seconds", "status"), [(0.01, 408), (60.0, 200)])
async def test_how_long_a_body_may_take_is_a_setting(seconds: float, status: int) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b'{"model": "toy",'
        await asyncio.sleep(0.05)
        yield b'"prompt": "Hi"}'

    app = build_app(FakeEngine(), body_seconds=seconds)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy") as client:
        headers = {"content-type": "application/json"}
        assert (await client.post("/tokenize", content=slow(), headers=headers)).status_code == status


async def test_a_model_without_a_chat_template_serves_completions() -> None:
    app = create_app(Settings(model=str(toy_directory(None)), model_name=MODEL), FakeEngine())
    question = {"type": "predicate", "instructions": "Is it angry?"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy") as client:
        text = await client.post("/v1/completions", json={"model": MODEL, "prompt": "Hi"})
        messages = [{"role": "user", "content": "Hi"}]
        chat = await client.post("/v1/chat/completions", json={"model": MODEL, "messages": messages})
        decisions = {"model": MODEL, "input": "Hi", "questions": [question]}
        decision = await client.post("/v1/decisions", json=decisions)
    assert text.status_code == 200
    for answer, param in ((chat, "messages"), (decision, "input")):
        assert answer.status_code == 400
        assert answer.json()["error"] == {
            "message": "This model has no chat template.",
            "type": "invalid_request_error",
            "param": param,
            "code": "invalid_value",
        }


async def test_pages_may_read_every_header_of_ours(tmp_path_factory: pytest.TempPathFactory) -> None:
    key, entry = new_key("acme")
    limits = {"requests_per_second": 9, "tokens_per_minute": 900}
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    file.write_text(json.dumps([{"id": entry.id, "sha256": entry.sha256, "tenant": "acme"} | limits]))
    app = build_app(FakeEngine(), api_keys_file=file, cors_origins=["https://shop.example"])
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"origin": "https://shop.example", "authorization": f"Bearer {key}", "x-request-id": "mine"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy") as client:
        answer = await client.post("/v1/chat/completions", headers=headers, json=body)
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    ours = {name for name in answer.headers if name.startswith(("x-", "openai-", "server-"))}
    assert len(ours) == 10
    assert ours | {"retry-after", "retry-after-ms", "traceresponse"} == exposed


@pytest.mark.parametrize(
    ("origin", "method"), [("https://other.example", "POST"), ("https://shop.example", "DELETE")]
)
async def test_a_refused_preflight_is_an_error_like_every_other(origin: str, method: str) -> None:
    app = build_app(FakeEngine(), cors_origins=["https://shop.example"])
    headers = {"origin": origin, "access-control-request-method": method}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy") as client:
        answer = await client.options("/v1/chat/completions", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "cors_not_allowed"
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("origin", "settings", "status"),
    [
        (None, {}, 200),
        ("http://127.0.0.1:8000", {}, 200),
        ("http://[::1]:8000", {}, 200),
        ("http://localhost:3000", {}, 200),
        ("http://shop.localhost", {}, 200),
        ("null", {}, 403),
        ("null", {"cors_origins": ["https://shop.example"]}, 403),
        ("null", {"cors_origins": ["null"]}, 200),
        ("null", {"cors_origins": ["*"]}, 200),
        ("file://", {}, 403),
        ("", {}, 403),
        ("chrome-extension://abcdefgh", {}, 200),
        ("https://evil.example:8000", {}, 403),
        ("http://127.0.0.1.evil.example", {}, 403),
        ("http://localhost@evil.example", {}, 403),
        ("http://[", {}, 403),
        ("https://evil.example", {"cors_origins": ["https://shop.example"]}, 403),
        ("https://shop.example", {"cors_origins": ["https://shop.example"]}, 200),
        ("https://any.example", {"cors_origins": ["*"]}, 200),
        ("https://any.example", {"allow_open": True}, 200),
    ],
)
async def test_a_page_that_takes_the_service_for_its_own_site_is_refused(
    origin: str | None, settings: dict[str, Any], status: int
) -> None:
    """A site whose name leads to 127.0.0.1 needs no preflight; its page then says so, and where it came from."""
    app = build_app(FakeEngine(), **settings)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"origin": origin} if origin is not None else {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy") as client:
        answer = await client.post("/v1/chat/completions", headers=headers, json=body)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "cors_not_allowed"
        assert "evil" not in answer.text
