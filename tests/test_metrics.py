import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.engine.messages import FinishReason, Ready, StepStats
from app.metric_families.requests import REJECTIONS, TASKS
from app.metrics import Metrics
from app.observation import Observation
from tests.promtool import promtool
from tests.scoring_engine import READY


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("toy")


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.render(None)[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """The sample of this name with these labels, and the model's where it has one; KeyError if there is none."""
    found, key = samples(metrics), f"repartee_{name}"
    with_model = key, frozenset(({"model": "toy"} | labels).items())
    return found[with_model if with_model in found else (key, frozenset(labels.items()))]


def chat(**fields: object) -> Observation:
    known = {
        "task": "chat",
        "stream": True,
        "queue": 0.01,
        "prefill": 0.02,
        "first_token": 0.03,
        "decode": 0.5,
        "token_gap": 0.05,
        "total": 0.6,
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "generated_tokens": 11,
    }
    return Observation("req", **(known | fields))  # type: ignore[arg-type]


def test_known_labels_start_at_zero(metrics: Metrics) -> None:
    found = samples(metrics)
    for task in TASKS:
        for outcome in ("ok", "error", "cancelled", "timeout", "rejected"):
            key = frozenset({"model": "toy", "task": task, "outcome": outcome}.items())
            assert found["repartee_requests_total", key] == 0
        for reason in REJECTIONS:
            key = frozenset({"task": task, "reason": reason}.items())
            assert found["repartee_request_rejections_total", key] == 0
        key = frozenset({"model": "toy", "task": task, "slo": "availability"}.items())
        assert found["repartee_slo_events_total", key] == found["repartee_slo_good_total", key] == 0


def test_series_stay_below_a_thousand_whatever_is_asked(metrics: Metrics) -> None:
    metrics.ready(READY)
    routes = [f"/route{number}" for number in range(16)] + ["unmatched"]
    for number in range(1000):
        for route in routes[: 1 + number % 17]:
            metrics.http(route, f"METHOD{number}", 405)
    for route in routes:
        for method, status in (("GET", 200), ("POST", 405), ("GET", 401), ("GET", 503)):
            metrics.http(route, method, status)
    for task in TASKS:
        for outcome in ("ok", "error", "cancelled", "timeout"):
            metrics.observe_request(chat(task=task, outcome=outcome, stream=task != "decision"))
    for phase in ("decode", "nobody knows this"):
        metrics.loading(phase, 1.0)
    assert len(samples(metrics)) < 1000


def test_http_labels_are_bounded(metrics: Metrics) -> None:
    metrics.http("/v1/models", "BREW", 405)
    metrics.http("/v1/models", "GET", 200)
    assert value(metrics, "http_requests_total", route="/v1/models", method="other", status="4xx") == 1
    assert value(metrics, "http_requests_total", route="/v1/models", method="GET", status="2xx") == 1


def test_a_whole_answer_is_counted_once_everywhere(metrics: Metrics) -> None:
    metrics.observe_request(chat())
    of_task = {"task": "chat"}
    assert value(metrics, "requests_total", **of_task, outcome="ok") == 1
    assert value(metrics, "request_duration_seconds_count", **of_task, stream="true") == 1
    assert value(metrics, "time_to_first_token_seconds_count", stream="true") == 1
    assert value(metrics, "time_per_output_token_seconds_sum") == pytest.approx(0.05)
    assert value(metrics, "stage_duration_seconds_sum", **of_task, stage="queue") == pytest.approx(0.01)
    assert value(metrics, "stage_duration_seconds_count", **of_task, stage="tokenize") == 0
    assert value(metrics, "request_prompt_tokens_sum", **of_task) == 10
    assert value(metrics, "request_generated_tokens_sum", **of_task) == 11
    assert value(metrics, "prompt_tokens_total") == 10
    assert value(metrics, "prompt_cached_tokens_total") == 4
    assert value(metrics, "generated_tokens_total") == 11


@pytest.mark.parametrize(
    ("fields", "slo", "good"),
    [
        ({}, "ttft", 1),
        ({"first_token": 0.6}, "ttft", 0),
        ({}, "itl", 1),
        ({"token_gap": 0.2}, "itl", 0),
        ({}, "availability", 1),
        ({"outcome": "error"}, "availability", 0),
        ({"outcome": "timeout"}, "availability", 0),
        ({"outcome": "timeout"}, "ttft", 0),
        ({"task": "decision", "stream": False, "total": 0.1}, "e2e", 1),
        ({"task": "decision", "stream": False, "total": 0.2}, "e2e", 0),
    ],
)
def test_objectives(metrics: Metrics, fields: dict[str, object], slo: str, good: int) -> None:
    metrics.observe_request(chat(**fields))
    labels = {"task": str(fields.get("task", "chat")), "slo": slo}
    assert value(metrics, "slo_events_total", **labels) == 1
    assert value(metrics, "slo_good_total", **labels) == good


def test_a_client_that_left_is_no_fault_of_the_service(metrics: Metrics) -> None:
    metrics.observe_request(chat(outcome="cancelled", first_token=None))
    assert value(metrics, "request_cancellations_total", task="chat", stage="prefill") == 1
    assert value(metrics, "slo_events_total", task="chat", slo="availability") == 0


@pytest.mark.parametrize(("reason", "events"), [("queue_full", 1), ("invalid", 0), ("rate_limited", 0)])
def test_only_our_own_refusals_cost_availability(metrics: Metrics, reason: str, events: int) -> None:
    metrics.rejected("chat", reason)
    assert value(metrics, "request_rejections_total", task="chat", reason=reason) == 1
    assert value(metrics, "slo_events_total", task="chat", slo="availability") == events
    assert value(metrics, "slo_good_total", task="chat", slo="availability") == 0


def test_errors_tell_the_engine_from_the_rest(metrics: Metrics) -> None:
    metrics.observe_request(chat(outcome="error", error_code="engine_died"))
    metrics.observe_request(chat(outcome="error", error_code="internal_error"))
    assert value(metrics, "request_errors_total", task="chat", type="engine") == 1
    assert value(metrics, "request_errors_total", task="chat", type="internal") == 1


def test_requests_without_a_task_are_not_inference(metrics: Metrics) -> None:
    before = samples(metrics)
    metrics.observe_request(Observation("req"))
    after = samples(metrics)
    assert {key for key in after if key[0].startswith("repartee_") and after[key] != before[key]} == set()


def test_steps_and_gauges_return_to_zero(metrics: Metrics) -> None:
    metrics.ready(READY)
    metrics.step(
        StepStats(
            forward_seconds=0.01,
            phase="prefill",
            sequences=3,
            tokens=40,
            running=3,
            waiting=2,
            oldest_wait=0.5,
            kv_blocks_used=READY.num_blocks // 2,
            preemptions=1,
            drafted=7,
            accepted=5,
        )
    )
    assert value(metrics, "batch_tokens_sum", phase="prefill") == 40
    assert value(metrics, "kv_cache_usage_ratio") == 0.5
    assert value(metrics, "kv_cache_capacity_tokens") == READY.num_blocks * READY.block_size
    assert value(metrics, "running_requests") == 3
    assert value(metrics, "preemptions_total") == 1
    assert value(metrics, "spec_drafted_tokens_total") == 7
    assert value(metrics, "spec_accepted_tokens_total") == 5
    metrics.engine_restarted()
    gauges = ("queue_requests", "running_requests", "queue_oldest_seconds", "kv_cache_usage_ratio")
    assert {name: value(metrics, name) for name in gauges} == dict.fromkeys(gauges, 0)
    assert value(metrics, "engine_restarts_total") == 1


def test_a_chunk_of_tokens_counts_each_of_them(metrics: Metrics) -> None:
    metrics.inter_token(0.06, 3)
    assert value(metrics, "inter_token_seconds_count") == 3
    assert value(metrics, "inter_token_seconds_sum") == pytest.approx(0.06)


@pytest.mark.parametrize("reason", FinishReason)
def test_every_finish_reason_has_a_label(metrics: Metrics, reason: FinishReason) -> None:
    metrics.sequence_finished("chat", reason)
    total = sum(n for (name, _), n in samples(metrics).items() if name == "repartee_finish_total")
    assert total == 1


def test_a_new_engine_replaces_the_old_info(metrics: Metrics) -> None:
    metrics.ready(READY)
    fields = {name: getattr(READY, name) for name in Ready.__struct_fields__} | {"num_blocks": 16}
    metrics.ready(Ready(**fields))
    infos = [dict(labels) for name, labels in samples(metrics) if name == "repartee_cache_config_info"]
    assert [info["num_blocks"] for info in infos] == ["16"]


def test_the_accept_header_chooses_the_format(metrics: Metrics) -> None:
    body, content_type = metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert metrics.render(None)[1].startswith("text/plain")


def test_promtool_has_no_complaint(metrics: Metrics) -> None:
    metrics.ready(READY)
    metrics.http("/livez", "GET", 200)
    assert promtool(metrics.render(None)[0]) == (0, "")


def test_promtool_complains_of_a_metric_without_help() -> None:
    status, complaints = promtool(b"# TYPE a_total counter\na_total 1\n")
    assert status != 0 and "help" in complaints


@pytest.mark.parametrize(("ci", "end"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_only_outside_of_ci_may_promtool_be_missing(
    monkeypatch: pytest.MonkeyPatch, ci: str, end: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(end):
        promtool(b"")
