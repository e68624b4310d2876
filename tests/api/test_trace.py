"""Traces through the whole application: one a request, in the caller's if there is one, and none where they are off."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app.api.trace import telemetry
from app.errors import Overloaded
from app.main import create_app
from app.settings import Settings
from app.tracing import Tracing
from tests.api.conftest import MODEL, build_app, saying, toy_tokenizer
from tests.fakes import TIMINGS, FakeEngine
from tests.toy_tokenizer import toy_directory

pytestmark = pytest.mark.anyio

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
QUESTIONS = {
    "model": MODEL,
    "input": "Hi",
    "questions": [{"type": "choice", "instructions": "?", "choices": [{"value": "a"}, {"value": "b"}]}],
}
SAMPLED = 1
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Traced:
    """An application with traces, a client of it, and the spans that it made."""

    def __init__(self, ratio: float = 1.0, engine: FakeEngine | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        tracing = Tracing(MODEL, SimpleSpanProcessor(self.exporter), ratio)
        self.engine = engine or FakeEngine(script=saying("Hello, world"))
        settings = Settings(model=str(toy_directory()), model_name=MODEL)
        app = create_app(settings, self.engine, spans=tracing, load_tokenizer=lambda path: toy_tokenizer())
        self.client = client_of(app)

    async def post(self, path: str = "/v1/chat/completions", **arguments: object) -> httpx.Response:
        return await self.client.post(path, **({"json": CHAT} | arguments))  # type: ignore[arg-type]

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy")


@pytest.fixture
async def traced() -> AsyncIterator[Traced]:
    made = Traced()
    async with made.client:
        yield made


def attributes_of(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_is_one_trace_with_its_stages(traced: Traced, stream: bool) -> None:
    answer = await traced.post(json=CHAT | {"stream": stream})
    assert answer.status_code == 200
    spans = traced.spans
    request, chat = spans["POST /v1/chat/completions"], spans[f"chat {MODEL}"]
    assert request.kind is SpanKind.SERVER and parent_of(request) is None
    assert parent_of(chat) == id_of(request)
    for name in ("queue", "prefill", "decode"):
        assert parent_of(spans[name]) == id_of(chat)
        assert attributes_of(spans[name])["gen_ai.request.model"] == MODEL
    assert len(spans) == len(traced.exporter.get_finished_spans()) == 5
    generated = len(toy_tokenizer().encode("Hello, world"))
    prompt = len(traced.engine.submitted[0].prompt)
    attributes = attributes_of(chat)
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.request.model"] == attributes["gen_ai.response.model"] == MODEL
    assert attributes["gen_ai.request.stream"] is stream
    assert attributes["gen_ai.usage.input_tokens"] == prompt
    assert attributes["gen_ai.usage.output_tokens"] == generated
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["repartee.request_id"] == answer.headers["x-request-id"]
    assert attributes_of(spans["prefill"])["gen_ai.usage.input_tokens"] == prompt
    assert attributes_of(spans["decode"])["gen_ai.usage.output_tokens"] == generated


async def test_stages_lie_end_to_end_with_the_durations_that_were_measured(traced: Traced) -> None:
    await traced.post()
    spans = traced.spans
    stages = [spans[name] for name in ("queue", "prefill", "decode")]
    times = [(span.start_time or 0, span.end_time or 0) for span in stages]
    seconds = [round((end - start) / 1e9, 6) for start, end in times]
    assert seconds == [TIMINGS.queue, TIMINGS.prefill, TIMINGS.decode]
    assert times[0][1] == times[1][0] and times[1][1] == times[2][0]
    assert (spans[f"chat {MODEL}"].start_time or 0) <= times[0][0]


async def test_a_decision_is_a_trace_without_decoding(traced: Traced) -> None:
    assert (await traced.post("/v1/decisions", json=QUESTIONS)).status_code == 200
    spans = traced.spans
    assert set(spans) == {"POST /v1/decisions", f"decision {MODEL}", "queue", "prefill"}


async def test_the_trace_of_the_caller_is_joined(traced: Traced) -> None:
    answer = await traced.post(headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    request = traced.spans["POST /v1/chat/completions"]
    assert parent_of(request) == int(CALLER, 16)
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{id_of(request):016x}-01"
    for span in traced.spans.values():
        context = span.get_span_context()
        assert context is not None and context.trace_id == int(TRACE, 16)


@pytest.mark.parametrize("traceparent", ["junk", f"00-{'0' * 32}-{CALLER}-01", f"00-{TRACE}-{CALLER}", ""])
async def test_a_malformed_traceparent_begins_a_trace(traced: Traced, traceparent: str) -> None:
    answer = await traced.post(headers={"traceparent": traceparent})
    assert answer.status_code == 200
    assert parent_of(traced.spans["POST /v1/chat/completions"]) is None


@pytest.mark.parametrize("traceparent", [None, f"00-{TRACE}-{CALLER}-00"])
async def test_what_is_not_sampled_is_in_no_trace_but_told(
    traceparent: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    traced = Traced(ratio=0.0 if traceparent is None else 1.0)
    answer = await traced.post(headers={"traceparent": traceparent} if traceparent else {})
    assert int(answer.headers["traceresponse"].rpartition("-")[2], 16) & SAMPLED == 0
    assert traced.spans == {}
    assert access_fields(caplog)["trace_id"] is None


async def test_a_caller_that_records_is_recorded_whatever_the_ratio() -> None:
    traced = Traced(ratio=0.0)
    await traced.post(headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    assert len(traced.spans) == 5


async def test_the_access_line_names_the_trace(traced: Traced, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await traced.post(headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    assert access_fields(caplog)["trace_id"] == TRACE


def access_fields(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    (line,) = [record for record in caplog.records if record.name == "app.access"]
    fields: dict[str, object] = vars(line)["fields"]
    return fields


async def test_a_refused_request_is_a_failed_span_without_stages() -> None:
    traced = Traced(engine=FakeEngine(refusal=Overloaded(1.0)))
    assert (await traced.post()).status_code == 503
    chat = traced.spans[f"chat {MODEL}"]
    assert chat.status.status_code is StatusCode.ERROR
    assert attributes_of(chat)["error.type"] == "server_is_overloaded"
    assert not {"queue", "prefill", "decode"} & set(traced.spans)


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/v1/models", "/secret-of-a-client"])
async def test_only_inference_is_traced(traced: Traced, path: str) -> None:
    answer = await traced.client.get(path)
    assert "traceresponse" not in answer.headers
    assert (await traced.post("/secret-of-a-client")).status_code == 404
    assert traced.spans == {}


async def test_nothing_that_a_client_wrote_is_in_a_span(traced: Traced) -> None:
    secret = "xyzzy-secret"
    body = CHAT | {"messages": [{"role": "user", "content": secret}], "user": secret}
    headers = {"x-request-id": secret, "user-agent": secret, "authorization": f"Bearer {secret}"}
    assert (await traced.post(f"/v1/chat/completions?key={secret}", json=body, headers=headers)).is_success
    assert (await traced.post(json=CHAT | {secret: 1, "model": 5})).status_code == 400
    made = "".join(span.to_json() for span in traced.exporter.get_finished_spans())
    assert made and secret not in made


def test_the_framework_is_told_to_do_nothing_else() -> None:
    """Its log records would quote requests, and variables of its own would switch more on."""
    off = telemetry(None)
    assert not any(off.values()) and {"tracing", "metrics", "logs", "auto_configure"} <= set(off)
    on = telemetry(Tracing(MODEL, SimpleSpanProcessor(InMemorySpanExporter())))
    assert [name for name, value in on.items() if value is True] == ["tracing"]


async def test_without_traces_nothing_is_added() -> None:
    app = build_app(FakeEngine())
    assert not [layer for layer in app.user_middleware if "Trace" in str(layer)]
    async with client_of(app) as client:
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        answer = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert "traceresponse" not in answer.headers


@pytest.fixture
def loaded_modules() -> Iterator[str]:
    script = "import sys, app.serve; print(*sys.modules)"
    yield subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_a_service_without_traces_loads_neither_sdk_nor_exporter(loaded_modules: str) -> None:
    """FastAPI itself loads `opentelemetry.trace`, which is small; what takes memory stays away."""
    heavy = (
        "opentelemetry.sdk",
        "opentelemetry.exporter",
        "opentelemetry.proto",
        "google.protobuf",
        "requests",
    )
    assert not {name for name in loaded_modules.split() if name.startswith(heavy)}
