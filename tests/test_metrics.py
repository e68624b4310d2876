from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics

from app.engine.messages import FinishReason, Ready, StepStats
from app.metric_families.requests import REJECTIONS, TASKS
from app.metrics import InvalidMetricSettings, Metrics
from app.observation import Observation
from app.settings import Settings
from tests.exposition import MODEL, chat, labels_of, metrics_with, samples, value
from tests.metric_families.nvml import StandIn, install
from tests.metric_families.test_series import exercise
from tests.promtool import promtool
from tests.scoring_engine import READY


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(MODEL)


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
    assert value(metrics, "stage_duration_seconds_sum", **of_task, stage="parse") == pytest.approx(0.001)
    assert value(metrics, "stage_duration_seconds_sum", **of_task, stage="write") == pytest.approx(0.002)
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
    assert [info["num_blocks"] for info in labels_of(metrics, "cache_config_info")] == ["16"]
    assert len(labels_of(metrics, "build_info")) == 1


@pytest.mark.parametrize(("set_to", "shown"), [("", "unknown"), ("3f2a", "3f2a")])
def test_the_revision_is_told_where_it_is_known(set_to: str, shown: str) -> None:
    metrics = metrics_with(revision=set_to)
    metrics.ready(READY)
    assert [info["revision"] for info in labels_of(metrics, "build_info")] == [shown]


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_exemplars_lead_from_a_bucket_to_a_trace(metrics: Metrics) -> None:
    metrics.observe_request(chat(trace_id=TRACE))
    text, _ = metrics.render("application/openmetrics-text; version=1.0.0")
    marked = {
        (sample.name, sample.labels["le"], sample.exemplar.value)
        for family in open_metrics(text.decode())
        for sample in family.samples
        if sample.exemplar and sample.exemplar.labels == {"trace_id": TRACE}
    }
    assert marked == {
        ("repartee_time_to_first_token_seconds_bucket", "0.04", 0.03),
        ("repartee_request_duration_seconds_bucket", "1.0", 0.6),
    }
    assert TRACE not in metrics.render(None)[0].decode()


def test_a_request_without_a_trace_has_no_exemplar(metrics: Metrics) -> None:
    metrics.observe_request(chat())
    text, _ = metrics.render("application/openmetrics-text; version=1.0.0")
    families = list(open_metrics(text.decode()))
    assert not [sample for family in families for sample in family.samples if sample.exemplar]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"slo_file": "/nowhere.toml"}, ["REPARTEE_SLO_FILE", "/nowhere.toml cannot be read"]),
        ({"metrics_buckets": {"speed": (1.0,)}}, ["REPARTEE_METRICS_BUCKETS", "speed is no histogram"]),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidMetricSettings) as caught:
        Metrics.of(Settings(**settings))
    assert all(word in str(caught.value) for word in words)


def test_the_settings_reach_the_families(tmp_path: Path) -> None:
    table = tmp_path / "slos.toml"
    table.write_text('[[slo]]\nname = "ttft"\ntasks = ["chat"]\nobjective = 0.9\nthreshold_seconds = 0.25\n')
    buckets = {"repartee_time_to_first_token_seconds": (0.25, 5.0)}
    settings = Settings(
        model_name=MODEL, slo_file=table, metrics_buckets=buckets, metrics_vllm_aliases=True, max_waiting=7
    )
    metrics = Metrics.of(settings)
    metrics.observe_request(chat(first_token=0.3))
    assert value(metrics, "slo_events_total", task="chat", slo="ttft") == 1
    assert value(metrics, "slo_good_total", task="chat", slo="ttft") == 0
    assert [labels["slo"] for labels in labels_of(metrics, "slo_events_total")] == ["ttft"]
    bounds = {labels["le"] for labels in labels_of(metrics, "time_to_first_token_seconds_bucket")}
    assert bounds == {"0.25", "5.0", "+Inf"}
    assert value(metrics, "queue_limit_requests") == 7
    assert "vllm:num_requests_running" in {name for name, _ in samples(metrics)}


def test_the_accept_header_chooses_the_format(metrics: Metrics) -> None:
    body, content_type = metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert metrics.render(None)[1].startswith("text/plain")


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain;version=x",
        "application/openmetrics-text; version=abc",
        "application/openmetrics-text; version=1.0.0rc1, text/plain",
    ],
)
def test_a_malformed_accept_header_gets_the_plain_format(metrics: Metrics, accept: str) -> None:
    body, content_type = metrics.render(accept)
    assert content_type == metrics.render(None)[1]
    assert body.startswith(b"# HELP ")


def test_other_threads_may_run_between_two_families(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("app.metrics.time.sleep", pauses.append)
    families = len(list(metrics.registry.collect()))
    for accept in (None, "application/openmetrics-text; version=1.0.0"):
        pauses.clear()
        metrics.render(accept)
        assert len(pauses) == families and min(pauses) > 0  # a pause of 0 would let nobody in for sure


def test_promtool_has_no_complaint(metrics: Metrics) -> None:
    metrics.ready(READY)
    metrics.http("/livez", "GET", 200)
    assert promtool(metrics.render(None)[0]) == (0, "")


def test_promtool_has_no_complaint_when_everything_has_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    install(StandIn(2), monkeypatch)
    metrics = Metrics(MODEL)
    exercise(metrics)
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
