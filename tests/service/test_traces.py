"""A real service that sends its traces: to a collector, to one that hangs, and to none."""

import signal

import httpx
import pytest

from tests.collector import collector, no_collector, silent_collector
from tests.service.running_service import MODEL, running_service

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Where is my refund?"}], "max_tokens": 5}
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_collector_gets_every_stage_of_a_request() -> None:
    with collector() as receiver, running_service(traces_endpoint=receiver.endpoint) as service:
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        answer = httpx.post(f"{service.url}/v1/chat/completions", json=CHAT, headers=headers, timeout=60)
        assert answer.headers["traceresponse"].startswith(f"00-{TRACE}-")
        spans = receiver.wait_for(5)
    request, chat = spans["POST /v1/chat/completions"], spans[f"chat {MODEL}"]
    assert request.parent_span_id.hex() == CALLER
    assert chat.parent_span_id == request.span_id
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    stages = [spans[name] for name in ("queue", "prefill", "decode")]
    for span in stages:
        assert span.parent_span_id == chat.span_id
        assert chat.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    timings = answer.json()["timings"]
    seconds = (stages[1].end_time_unix_nano - stages[1].start_time_unix_nano) / 1e9
    assert seconds == pytest.approx(timings["prefill_ms"] / 1000, abs=1e-4)
    attributes = {pair.key: pair.value for pair in chat.attributes}
    assert attributes["gen_ai.usage.output_tokens"].int_value == 5


@pytest.mark.parametrize("hangs", [True, False])
def test_a_collector_that_is_not_there_disturbs_neither_requests_nor_the_end(hangs: bool) -> None:
    with (
        silent_collector() as silent,
        running_service(traces_endpoint=silent if hangs else no_collector()) as service,
    ):
        for _ in range(20):
            answer = httpx.post(f"{service.url}/v1/chat/completions", json=CHAT, timeout=60)
            assert answer.status_code == 200
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
