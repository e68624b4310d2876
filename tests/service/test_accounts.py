"""What the service says of itself: metrics that count every request, and nothing left behind by clients that leave."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.promtool import promtool
from tests.service.running_service import MODEL, Service

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "I want a refund."}], "max_tokens": 300}


def test_histograms_count_the_requests_that_were_sent(service: Service) -> None:
    def counts() -> tuple[float, ...]:
        return (
            service.sample("repartee_request_duration_seconds_count", task="chat"),
            service.sample("repartee_time_to_first_token_seconds_count"),
            service.sample("repartee_request_duration_seconds_count", task="decision"),
            service.sample("repartee_requests_total", outcome="rejected"),
        )

    before = counts()
    for stream in (False, True, False):
        body = CHAT | {"max_tokens": 5, "stream": stream}
        assert httpx.post(f"{service.url}/v1/chat/completions", json=body, timeout=60).status_code == 200
    body = {"model": MODEL, "input": ["a refund please", "hello"], "labels": ["refund", "greeting"]}
    assert httpx.post(f"{service.url}/v1/classify", json=body, timeout=60).status_code == 200
    assert httpx.post(f"{service.url}/v1/chat/completions", json={"model": 5}).status_code == 400
    after = counts()
    assert [b - a for a, b in zip(before, after, strict=True)] == [3, 3, 1, 1]


def test_a_stop_string_is_a_stop_and_loses_no_stage(service: Service) -> None:
    def counts() -> tuple[float, ...]:
        return (
            service.sample("repartee_finish_total", task="completion", reason="stop"),
            service.sample("repartee_finish_total", task="completion", reason="cancelled"),
            service.sample("repartee_finish_total", task="chat"),
            *(
                service.sample("repartee_stage_duration_seconds_count", task="completion", stage=stage)
                for stage in ("parse", "tokenize", "queue", "prefill", "decode", "detokenize", "write")
            ),
        )

    before = counts()
    body = {"model": MODEL, "prompt": "I want", "max_tokens": 200, "ignore_eos": True, "stop": [" ", "e"]}
    answer = httpx.post(f"{service.url}/v1/completions", json=body, timeout=60).json()
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] < 200
    deadline = time.monotonic() + 20
    while counts()[0] == before[0] and time.monotonic() < deadline:  # the engine says so a little later
        time.sleep(0.01)
    assert [b - a for a, b in zip(before, counts(), strict=True)] == [1, 0, 0, *[1] * 7]


def test_the_engine_tells_its_memory_and_overhead(service: Service) -> None:
    httpx.post(f"{service.url}/v1/chat/completions", json=CHAT | {"max_tokens": 5}, timeout=60)
    assert service.sample("repartee_engine_process_resident_memory_bytes") > 10_000_000
    assert service.sample("repartee_engine_process_cpu_seconds_total") > 0
    assert 0 < service.sample("repartee_engine_overhead_seconds_total") < 60


def test_server_timing_says_what_the_body_says(service: Service) -> None:
    answer = httpx.post(f"{service.url}/v1/chat/completions", json=CHAT | {"max_tokens": 5}, timeout=60)
    header = dict(part.strip().split(";dur=") for part in answer.headers["server-timing"].split(","))
    timings = answer.json()["timings"]
    for stage in ("tokenize", "queue", "prefill", "decode"):
        assert float(header[stage]) == pytest.approx(timings[f"{stage}_ms"], abs=0.002)


def test_promtool_finds_nothing_to_say(service: Service) -> None:
    assert promtool(httpx.get(f"{service.url}/metrics").content) == (0, "")


def test_a_hundred_clients_that_leave_leave_nothing(service: Service) -> None:
    url = f"{service.url}/v1/chat/completions"
    body = CHAT | {"stream": True, "temperature": 1.5, "ignore_eos": True, "max_tokens": 1500}
    engine = service.engine_process

    def leave(number: int) -> None:
        with httpx.stream("POST", url, json=body, timeout=60) as answer:
            assert answer.status_code == 200
            for _ in zip(range(number % 4), answer.iter_lines(), strict=False):
                pass

    def left() -> list[float]:
        names = ("repartee_finish_total", "repartee_request_cancellations_total")
        return [service.sample(name, task="chat") for name in names]

    expected = [count + 100 for count in left()]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(leave, range(100)))
    limit = time.monotonic() + 30
    gauges = ("repartee_running_requests", "repartee_queue_requests", "repartee_kv_cache_usage_ratio")
    while (left() != expected or any(map(service.sample, gauges))) and time.monotonic() < limit:
        time.sleep(0.1)
    assert left() == expected
    assert [service.sample(gauge) for gauge in gauges] == [0, 0, 0]
    # The engine checks its blocks when its work is done and a moment has passed since it last did. Damage ends it: at
    # the latest after the first of these answers, so that there would be no second.
    for _ in range(2):
        time.sleep(0.3)
        answer = httpx.post(url, json=CHAT | {"max_tokens": 3}, timeout=60)
        assert answer.status_code == 200
    assert service.engine_process == engine
    assert service.sample("repartee_engine_restarts_total") == 0
