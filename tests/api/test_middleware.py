import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.body_limit import BodyLimitMiddleware
from app.api.loop_lag import watch_loop_lag
from app.api.middleware import (
    METHODS_OF_PATH,
    RequestContextMiddleware,
    outcome_of,
    rejection_reason,
    send_error,
)
from app.errors import Draining, InvalidRequest, ReparteeError
from app.keys import KeyEntry, KeyRing
from tests.api.conftest import build_app
from tests.api.edge import MODEL, RecordingMetrics, build, client
from tests.fakes import FakeEngine
from tests.scoring_engine import ScoringEngine

pytestmark = pytest.mark.anyio
CLASSIFY = {"model": MODEL, "input": "hello", "labels": ["a", "b"]}


@pytest.fixture
def metrics() -> RecordingMetrics:
    return RecordingMetrics()


def http_scope(path: str = "/v1/classify", headers: dict[str, str] | None = None) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 1),
        "server": ("service", 80),
    }


async def drive(app: ASGIApp, scope: Scope, incoming: list[Message]) -> list[Message]:
    """Run one request by hand; after `incoming` the client stays silent."""
    sent: list[Message] = []
    queue = list(incoming)

    async def receive() -> Message:
        if queue:
            return queue.pop(0)
        return await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def body(content: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


async def test_every_answer_has_the_servers_own_request_id(metrics: RecordingMetrics) -> None:
    async with client(build(ScoringEngine(), metrics)) as http:
        answers = [
            await http.get("/livez", headers={"x-request-id": "mine-1"}),
            await http.get("/nowhere", headers={"x-request-id": "bad id"}),
            await http.post("/v1/classify", json={}),
        ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 3
    assert all(identifier.startswith("req_") for identifier in ids)
    assert answers[0].headers["x-client-request-id"] == "mine-1"
    assert "x-client-request-id" not in answers[1].headers


async def test_routes_are_counted_by_template(metrics: RecordingMetrics) -> None:
    def extend(app: FastAPI) -> None:
        @app.get("/things/{name}")
        async def thing(name: str) -> str:
            return name

    async with client(build(ScoringEngine(), metrics, extend=extend)) as http:
        await http.get("/things/one")
        await http.get("/things/two")
        await http.get("/secret")
        await http.request("BREW", "/livez")
    assert metrics.http_calls == [
        ("/things/{name}", "GET", 200),
        ("/things/{name}", "GET", 200),
        ("unmatched", "GET", 404),
        ("unmatched", "BREW", 405),
    ]
    assert metrics.observations == []


async def test_a_decision_is_observed_once_with_its_timings(metrics: RecordingMetrics) -> None:
    async with client(build(ScoringEngine(), metrics)) as http:
        answer = await http.post("/v1/classify", json=CLASSIFY)
    (observation,) = metrics.observations
    assert (observation.task, observation.outcome) == ("decision", "ok")
    assert observation.total is not None
    assert "prefill;dur=2.0" in answer.headers["server-timing"]
    assert answer.headers["openai-processing-ms"].isdecimal()


async def test_the_stages_at_both_ends_are_measured_and_follow_each_other(metrics: RecordingMetrics) -> None:
    async with client(build(ScoringEngine(), metrics)) as http:
        await http.post("/v1/classify", json=CLASSIFY)
    (observation,) = metrics.observations
    assert observation.parse and observation.tokenize and observation.write and observation.total
    assert observation.parse + observation.tokenize + observation.write < observation.total


async def test_a_body_that_is_not_valid_was_never_parsed(metrics: RecordingMetrics) -> None:
    async with client(build(ScoringEngine(), metrics)) as http:
        await http.post("/v1/classify", json=CLASSIFY | {"labels": 5})
    assert metrics.observations[0].parse is None


async def test_waiting_for_a_slow_reader_is_the_write_stage(metrics: RecordingMetrics) -> None:
    async def receive() -> Message:
        return body(b"")

    async def send(message: Message) -> None:
        await asyncio.sleep(0.02)

    await RequestContextMiddleware(Reader(), metrics=metrics, model=MODEL)(http_scope(), receive, send)
    assert (metrics.observations[0].write or 0) > 0.02


async def test_refusals_before_the_router_are_counted_with_their_route(metrics: RecordingMetrics) -> None:
    keys = KeyRing([KeyEntry(id="k1", sha256="0" * 64, tenant="acme")])
    async with client(build(ScoringEngine(), metrics, keys=keys)) as http:
        await http.post("/v1/classify", json=CLASSIFY)
        await http.get("/version")
        await http.get("/v1/models/secret")
    async with client(build(ScoringEngine(), metrics, max_bytes=1)) as http:
        await http.post("/v1/classify", json=CLASSIFY)
    assert metrics.http_calls == [
        ("/v1/classify", "POST", 401),
        ("/version", "GET", 401),
        ("unmatched", "GET", 401),
        ("/v1/classify", "POST", 413),
    ]


def test_the_fixed_paths_are_those_of_the_application() -> None:
    paths = build_app(FakeEngine()).openapi()["paths"]
    documented = {path: {method.upper() for method in paths[path]} for path in paths if "{" not in path}
    hidden = {"/health", "/docs", "/openapi.json"}
    assert {path: methods - {"HEAD"} for path, methods in METHODS_OF_PATH.items()} == (
        documented | {path: {"GET"} for path in hidden}
    )


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "HEAD", "PUT"])
async def test_only_a_post_is_an_inference_request(metrics: RecordingMetrics, method: str) -> None:
    async with client(build(ScoringEngine(), metrics)) as http:
        answer = await http.request(method, "/v1/classify")
    assert answer.status_code == 405
    assert "openai-processing-ms" not in answer.headers
    assert metrics.observations == [] and metrics.rejections == []


async def test_refusals_are_counted_with_their_reason(metrics: RecordingMetrics) -> None:
    async with client(build(ScoringEngine(room=0), metrics)) as http:
        await http.post("/v1/classify", json=CLASSIFY)
        await http.post("/v1/classify", json=CLASSIFY | {"labels": ["a"]})
    assert metrics.rejections == [("decision", "queue_full"), ("decision", "invalid")]
    assert [observation.outcome for observation in metrics.observations] == ["rejected", "rejected"]


async def test_what_nobody_caught_is_a_plain_500(
    metrics: RecordingMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("sec" + "ret")

    sent = await drive(
        RequestContextMiddleware(broken, metrics=metrics, model=MODEL), http_scope(), [body(b"{}")]
    )
    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["error"]["code"] == "internal_error"
    assert metrics.observations[0].outcome == "error"
    logged = " ".join(str(record.__dict__) for record in caplog.records)
    assert "RuntimeError" in logged
    assert "secret" not in logged


async def test_a_failure_after_the_first_byte_ends_without_a_second_answer(metrics: RecordingMetrics) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    sent = await drive(
        RequestContextMiddleware(broken, metrics=metrics, model=MODEL), http_scope(), [body(b"{}")]
    )
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert metrics.observations[0].outcome == "error"


async def test_a_client_that_leaves_a_whole_call_cancels_it(metrics: RecordingMetrics) -> None:
    engine = ScoringEngine(hold=True)
    app = build(engine, metrics)
    headers = {"content-type": "application/json"}
    messages = [body(json.dumps(CLASSIFY).encode()), {"type": "http.disconnect"}]
    await drive(app, http_scope(headers=headers), messages)
    assert engine.aborted == [1]
    assert metrics.observations[0].outcome == "cancelled"
    assert metrics.http_calls == [("/v1/classify", "POST", 499)]
    assert metrics.rejections == []


async def test_a_client_that_leaves_a_stream_is_cancelled(metrics: RecordingMetrics) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0)

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(endless())(scope, receive, send)

    app = RequestContextMiddleware(stream, metrics=metrics, model=MODEL)
    await drive(app, http_scope("/v1/chat/completions"), [{"type": "http.disconnect"}])
    assert metrics.observations[0].outcome == "cancelled"


async def test_leaving_after_the_last_byte_is_no_cancellation(metrics: RecordingMetrics) -> None:
    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
        await receive()

    app = RequestContextMiddleware(whole, metrics=metrics, model=MODEL)
    await drive(app, http_scope(), [{"type": "http.disconnect"}])
    assert metrics.observations[0].outcome == "ok"


async def test_probes_are_logged_for_debugging_only(
    metrics: RecordingMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with client(build(ScoringEngine(), metrics)) as http:
            await http.get("/readyz")
            await http.post("/v1/classify", json=CLASSIFY)
    levels = {
        record.__dict__["fields"]["route"]: record.levelname
        for record in caplog.records
        if record.name == "app.access"
    }
    assert levels == {"/readyz": "DEBUG", "/v1/classify": "INFO"}


async def test_a_method_that_says_more_than_a_method_is_not_logged(
    metrics: RecordingMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with client(build(ScoringEngine(), metrics)) as http:
            for method in ("X-13812345678", "M" * 17, "PATCH"):
                await http.request(method, "/v1/classify")
    lines = [record.__dict__["fields"] for record in caplog.records if record.name == "app.access"]
    assert [line["method"] for line in lines] == ["other", "other", "PATCH"]


async def test_a_probe_without_its_key_is_logged(
    metrics: RecordingMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    keys = KeyRing([KeyEntry(id="k1", sha256="0" * 64, tenant="acme")])
    with caplog.at_level(logging.INFO):
        async with client(build(ScoringEngine(), metrics, keys=keys)) as http:
            await http.get("/metrics")
    lines = [record.__dict__["fields"] for record in caplog.records if record.name == "app.access"]
    assert [(line["route"], line["status"]) for line in lines] == [("/metrics", 401)]


@pytest.mark.parametrize("secret", ["TOPSECRET"])
async def test_the_access_line_tells_amounts_and_no_content(
    metrics: RecordingMetrics, caplog: pytest.LogCaptureFixture, secret: str
) -> None:
    caplog.set_level(logging.INFO)
    async with client(build(ScoringEngine(), metrics)) as http:
        content = CLASSIFY | {"input": secret, "labels": [secret, "b"], "instructions": secret}
        await http.post(f"/v1/classify?{secret}", json=content, headers={"x-request-id": "mine"})
        await http.get(f"/{secret}")
    lines = [record.__dict__["fields"] for record in caplog.records if record.name == "app.access"]
    assert len(lines) == 2
    first: dict[str, Any] = lines[0]
    assert (first["route"], first["status"], first["client_request_id"]) == ("/v1/classify", 200, "mine")
    assert first["prompt_tokens"] > 0
    assert first["prefill_ms"] == 2.0
    assert secret not in str([record.__dict__ for record in caplog.records if record.name.startswith("app")])


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "ok"),
        (307, "ok"),
        (400, "rejected"),
        (429, "rejected"),
        (503, "rejected"),
        (499, "cancelled"),
        (504, "timeout"),
        (500, "error"),
    ],
)
def test_outcomes(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (401, None, "unauthorized"),
        (403, None, "unauthorized"),
        (413, None, "too_large"),
        (422, None, "invalid"),
        (429, None, "rate_limited"),
        (503, "server_is_overloaded", "queue_full"),
        (503, "shutting_down", "draining"),
        (503, "engine_restarting", "not_ready"),
        (503, None, "not_ready"),
    ],
)
def test_rejection_reasons(status: int, code: str | None, reason: str) -> None:
    assert rejection_reason(status, code) == reason


class Reader:
    """An application that reads its body, and remembers it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def limited(reader: Reader, metrics: RecordingMetrics, **limits: Any) -> ASGIApp:
    limits = {"max_bytes": 10, "seconds": 15.0} | limits
    return RequestContextMiddleware(BodyLimitMiddleware(reader, **limits), metrics=metrics, model=MODEL)


async def test_a_body_arrives_whole(metrics: RecordingMetrics) -> None:
    reader = Reader()
    sent = await drive(limited(reader, metrics), http_scope(), [body(b"01234", True), body(b"56789")])
    assert reader.bodies == [b"0123456789"]
    assert sent[0]["status"] == 200


@pytest.mark.parametrize("length", ["11", "9" * 5000])
async def test_a_declared_length_is_refused_unread(metrics: RecordingMetrics, length: str) -> None:
    reader = Reader()
    sent = await drive(limited(reader, metrics), http_scope(headers={"content-length": length}), [])
    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]
    assert reader.bodies == []
    assert metrics.rejections == [("decision", "too_large")]


async def test_an_endless_body_is_refused_at_the_first_byte_over(metrics: RecordingMetrics) -> None:
    reader = Reader()
    chunks = [body(b"012345", True) for _ in range(100)]
    sent = await drive(limited(reader, metrics), http_scope(), chunks)
    assert sent[0]["status"] == 413
    assert reader.bodies == []


async def test_a_slow_body_is_refused(metrics: RecordingMetrics) -> None:
    reader = Reader()
    sent = await drive(limited(reader, metrics, seconds=0.0), http_scope(), [body(b"0", True)])
    assert sent[0]["status"] == 408
    assert reader.bodies == []


async def test_a_client_that_leaves_within_its_body_is_not_served(metrics: RecordingMetrics) -> None:
    reader = Reader()
    messages: list[Message] = [body(b"0", True), {"type": "http.disconnect"}]
    assert await drive(limited(reader, metrics), http_scope(), messages) == []
    assert reader.bodies == []
    assert metrics.observations[0].outcome == "cancelled"


async def test_loop_lag_is_sampled_until_the_end() -> None:
    lags: list[float] = []
    enough = asyncio.Event()

    class Lag(RecordingMetrics):
        def loop_lag(self, seconds: float) -> None:
            lags.append(seconds)
            if len(lags) == 3:
                enough.set()

    tasks = len(asyncio.all_tasks())
    async with watch_loop_lag(Lag(), interval=0.0):
        await enough.wait()
    assert len(asyncio.all_tasks()) == tasks
    assert min(lags) >= 0


@pytest.mark.parametrize(
    ("error", "generated", "outcome"),
    [(Draining(), 0, "rejected"), (Draining(), 3, "error"), (InvalidRequest("No."), 3, "rejected")],
)
async def test_what_was_let_in_and_cut_by_the_end_of_the_service_was_not_rejected(
    metrics: RecordingMetrics, error: ReparteeError, generated: int, outcome: str
) -> None:
    async def ends(scope: Scope, receive: Receive, send: Send) -> None:
        observation = scope["state"]["observation"]
        observation.generated_tokens = generated
        await send_error(send, error, observation)

    await drive(RequestContextMiddleware(ends, metrics, MODEL), http_scope(), [])
    assert metrics.observations[-1].outcome == outcome
