"""Traces and their collector: one that is away or hangs costs spans and nothing else, and is told once."""

import logging
import threading
from collections.abc import Iterator

import pytest
from opentelemetry import trace

from app.observation import Observation
from app.settings import Settings
from app.tracing import BATCH_SPANS, QUEUE_SPANS, Tracing
from tests.collector import collector, no_collector, silent_collector


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    yield
    logging.getLogger("opentelemetry").setLevel(logging.NOTSET)


def tracing_to(endpoint: str) -> Tracing:
    return Tracing.to_collector(Settings(model="/models/small", traces_endpoint=endpoint))


def record(tracing: Tracing, count: int = 1) -> None:
    """Make the spans of requests: four each."""
    tracer = tracing.provider.get_tracer("test")
    for _ in range(count):
        request = tracer.start_span("POST")
        request.end()
        tracing.record(request, Observation("req_1", task="chat", queue=0.1, prefill=0.2, total=0.3))


def sending_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "OtelBatch" in thread.name and thread.is_alive()]


def test_spans_reach_the_collector_and_say_who_sent_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=abc")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with collector() as receiver:
        tracing = tracing_to(receiver.endpoint)
        record(tracing)
        spans = receiver.wait_for(4)
        tracing.close()
    assert set(spans) == {"POST", "chat small", "queue", "prefill"}
    assert spans["queue"].parent_span_id == spans["chat small"].span_id
    assert receiver.resources["service.name"] == "repartee"
    assert receiver.resources["deployment.environment.name"] == "test"
    assert receiver.headers["x-token"] == "abc"


def test_a_span_says_which_rules_of_the_policy_acted() -> None:
    with collector() as receiver:
        tracing = tracing_to(receiver.endpoint)
        request = tracing.provider.get_tracer("test").start_span("POST")
        request.end()
        tracing.record(request, Observation("req_1", task="chat", policy=["a:input:flag"], total=0.3))
        spans = receiver.wait_for(2)
        tracing.close()
    attributes = {pair.key: pair.value for pair in spans["chat small"].attributes}
    assert [one.string_value for one in attributes["repartee.policy"].array_value.values] == ["a:input:flag"]


def test_the_end_sends_what_is_left() -> None:
    with collector() as receiver:
        tracing = tracing_to(receiver.endpoint)
        record(tracing)
        tracing.close(30)
        assert not [thread for thread in threading.enumerate() if thread.name == "end of traces"]
        assert len(receiver.wait_for(4)) == 4


def test_a_collector_that_hangs_keeps_neither_requests_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.tracing.COLLECTOR_SECONDS", 0.5)
    before = set(sending_threads())
    with silent_collector() as endpoint:
        tracing = tracing_to(endpoint)
        record(tracing, QUEUE_SPANS)  # four times as many spans as wait at most
        tracing.close(0.05)
        assert set(sending_threads()) - before  # it still waits for the collector, and nobody waits for it
    for thread in set(sending_threads()) - before:
        assert thread.daemon
        thread.join()


def test_a_collector_that_is_away_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.tracing.COLLECTOR_SECONDS", 0.1)
    endpoint = no_collector()
    tracing = tracing_to(endpoint)
    record(tracing, BATCH_SPANS)
    tracing.close(30)
    (line,) = [message for message in caplog.messages if endpoint in message]
    assert line.startswith("traces cannot be sent")
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


def test_a_collector_that_is_back_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with collector() as receiver:
        receiver.status = 400  # not worth another try
        tracing = tracing_to(receiver.endpoint)
        for status in (400, 200, 200):
            receiver.status = status
            record(tracing)
            tracing.provider.force_flush()
        tracing.close(30)
    messages = [record.getMessage() for record in caplog.records]
    assert [" ".join(message.split()[:2]) for message in messages] == ["traces cannot", "traces are"]


def test_requests_without_a_task_have_no_spans() -> None:
    with collector() as receiver:
        tracing = tracing_to(receiver.endpoint)
        tracing.record(trace.INVALID_SPAN, Observation("req_1"))
        record(tracing)
        tracing.close(30)
        assert "POST" in receiver.wait_for(4)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "?"),
    ],
)
def test_a_wrong_variable_of_opentelemetry_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises((ValueError, RuntimeError)):
        tracing_to("http://127.0.0.1:4318")
