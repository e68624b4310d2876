import hashlib
from datetime import date
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.api.live_keys import LiveKeys
from app.api.routes import docs
from app.api.security import OPEN_PATHS, SCOPE_OF_PATH, AuthMiddleware
from app.keys import KeyEntry, KeyRing
from app.observation import Observation
from tests.api.edge import MODEL, RecordingMetrics, build, client
from tests.scoring_engine import ScoringEngine

pytestmark = pytest.mark.anyio
CLASSIFY = {"model": MODEL, "input": "hello", "labels": ["a", "b"]}


def ring(*, key: str = "secret", **fields: Any) -> KeyRing:
    known = {"id": "k1", "sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": "acme"}
    return KeyRing([KeyEntry(**(known | fields))])


@pytest.fixture
def metrics() -> RecordingMetrics:
    return RecordingMetrics()


@pytest.fixture
def engine() -> ScoringEngine:
    return ScoringEngine()


def bearer(key: str = "secret") -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
async def test_health_needs_no_key(engine: ScoringEngine, metrics: RecordingMetrics, path: str) -> None:
    async with client(build(engine, metrics, keys=ring())) as http:
        assert (await http.get(path)).status_code == 200


PATHS = [
    *SCOPE_OF_PATH,
    *(f"/docs/{name}" for name in (docs.SCRIPT, docs.STYLE, docs.ICON)),
    *("/version", "/docs", "/openapi.json", "/v1/models", "/", "/nowhere", "//livez", "/livez/"),
    *("/livez/../metrics", "/LIVEZ", "/livez%2f", "/readyz;x", "/metrics?/livez", "/health/.."),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD", "TRACE"])
async def test_nothing_else_answers_without_one(
    engine: ScoringEngine, metrics: RecordingMetrics, path: str, method: str
) -> None:
    async with client(build(engine, metrics, keys=ring())) as http:
        assert (await http.request(method, path)).status_code == 401


async def test_every_route_of_the_edge_is_closed(engine: ScoringEngine, metrics: RecordingMetrics) -> None:
    async with client(build(engine, metrics, keys=ring())) as http:
        paths = (await http.get("/openapi.json", headers=bearer())).json()["paths"]
        assert len(paths) > 5
        for path in paths.keys() - OPEN_PATHS:
            assert (await http.get(path)).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        {"authorization": "secret"},
        {"authorization": "Basic secret"},
        {"authorization": "Bearer"},
        {"x-api-key": "secret"},
        [("authorization", "Bearer secret"), ("authorization", "Bearer secret")],
    ],
)
async def test_missing_and_wrong_keys_get_the_same_answer(
    engine: ScoringEngine, metrics: RecordingMetrics, headers: Any
) -> None:
    async with client(build(engine, metrics, keys=ring())) as http:
        answer = await http.post("/v1/classify", json=CLASSIFY, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.json()["error"]["message"] == "Incorrect or missing API key."
    assert answer.headers["x-request-id"]
    assert metrics.rejections == [("decision", "unauthorized")]
    assert engine.prompts == []


async def test_the_answer_comes_before_the_body_is_read() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    async def receive() -> Message:
        raise AssertionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": "/v1/classify",
        "headers": [],
        "state": {"observation": Observation("req")},
    }
    await AuthMiddleware(app, keys=LiveKeys(ring()))(scope, receive, send)
    assert sent[0]["status"] == 401


async def test_websockets_are_refused_even_without_keys() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await AuthMiddleware(app, keys=None)({"type": "websocket", "path": "/livez"}, None, send)  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_an_expired_key_is_an_unknown_one(engine: ScoringEngine, metrics: RecordingMetrics) -> None:
    async with client(build(engine, metrics, keys=ring(expires=date(2020, 1, 1)))) as http:
        assert (await http.get("/version", headers=bearer())).status_code == 401


async def test_scopes(engine: ScoringEngine, metrics: RecordingMetrics) -> None:
    async with client(build(engine, metrics, keys=ring(scopes=("metrics",)))) as http:
        assert (await http.get("/metrics", headers=bearer())).status_code == 200
        assert (await http.get("/version", headers=bearer())).status_code == 200
        refused = await http.post("/v1/classify", json=CLASSIFY, headers=bearer())
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "permission_denied"
        assert (await http.post("/v1/chat/completions", headers=bearer())).status_code == 403
    async with client(build(engine, metrics, keys=ring())) as http:
        assert (await http.get("/metrics", headers=bearer())).status_code == 403


async def test_the_tenant_salts_the_prefix_cache_and_is_logged(
    engine: ScoringEngine, metrics: RecordingMetrics
) -> None:
    async with client(build(engine, metrics, keys=ring())) as http:
        assert (await http.post("/v1/classify", json=CLASSIFY, headers=bearer())).status_code == 200
    assert engine.salts == ["acme"]
    assert (metrics.observations[0].tenant, metrics.observations[0].key_id) == ("acme", "k1")


async def test_without_keys_everyone_is_anonymous(engine: ScoringEngine, metrics: RecordingMetrics) -> None:
    async with client(build(engine, metrics)) as http:
        assert (await http.post("/v1/classify", json=CLASSIFY)).status_code == 200
    assert engine.salts == [""]


async def post(http: httpx.AsyncClient) -> httpx.Response:
    return await http.post("/v1/classify", json=CLASSIFY, headers=bearer())


async def test_requests_beyond_the_quota_wait(engine: ScoringEngine, metrics: RecordingMetrics) -> None:
    async with client(build(engine, metrics, keys=ring(requests_per_second=0.001))) as http:
        first, second = await post(http), await post(http)
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert second.status_code == 429
    assert second.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(second.headers["retry-after"]) > 900
    assert second.headers["x-ratelimit-remaining-requests"] == "0"
    assert second.headers["x-ratelimit-reset-requests"].endswith("s")
    assert metrics.rejections == [("decision", "rate_limited")]
    assert len(engine.prompts) == 1


async def test_a_finished_request_gives_its_place_back(
    engine: ScoringEngine, metrics: RecordingMetrics
) -> None:
    async with client(build(engine, metrics, keys=ring(concurrency=1))) as http:
        bad = await http.post("/v1/classify", json={}, headers=bearer())
        assert bad.status_code == 400
        assert [(await post(http)).status_code for _ in range(3)] == [200] * 3


async def test_tokens_are_charged_to_the_key(engine: ScoringEngine, metrics: RecordingMetrics) -> None:
    async with client(build(engine, metrics, keys=ring(tokens_per_minute=5))) as http:
        assert [(await post(http)).status_code for _ in range(2)] == [200, 429]
