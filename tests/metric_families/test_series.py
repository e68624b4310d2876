"""How many series the service can have, whatever is asked of it: a scrape costs each of them."""

from functools import cache
from itertools import product

import pytest

from app.api.middleware import METHODS_OF_PATH
from app.engine.messages import FinishReason, StepStats
from app.metric_families.engine import LOAD_PHASES, PHASES
from app.metric_families.requests import OUTCOMES, REJECTIONS, TASKS
from app.metric_families.service import STATUSES
from app.metrics import Metrics
from app.observation import Decision
from app.policy.rules import MOST_RULES
from deploy.ray.targets import PATH as TARGETS
from tests.api.conftest import build_app
from tests.exposition import chat, labels_of, metrics_with, samples
from tests.fakes import FakeEngine
from tests.metric_families.nvml import StandIn, install
from tests.scoring_engine import READY

MOST_SERIES = 1000
HTTP = "http_requests_total"


@cache
def routes() -> frozenset[tuple[str, str]]:
    """Every route that an answer can be counted under, with each of its methods: the application's, and Ray's."""
    app = build_app(FakeEngine())
    known = {(label["route"], label["method"]) for label in labels_of(app.state.services.metrics, HTTP)}
    fixed = {(path, method) for path, methods in METHODS_OF_PATH.items() for method in methods}
    return frozenset(known | fixed | {(TARGETS, "GET")})


def exercise(metrics: Metrics) -> None:
    """Everything that can happen, with labels as many as strangers can make them."""
    metrics.know_tenants(f"tenant{number}" for number in range(100))
    rules = [f"rule{number}" for number in range(MOST_RULES)]
    metrics.know_policy(product(rules, ("input", "output"), ("refuse", "failed")))
    metrics.ready(READY)
    metrics.engine_process(1)
    for phase in (*LOAD_PHASES, "nobody knows this"):
        metrics.loading(phase, 1.0)
    for phase in PHASES:
        metrics.step(StepStats(phase=phase, sequences=1, tokens=1, torch_memory=(1, 2, 3)))
    for task, reason in product(TASKS, FinishReason):
        metrics.sequence_finished(task, reason)
    for task, reason in product(TASKS, REJECTIONS):
        metrics.rejected(task, reason)
    types = ("predicate", "choice", "score", "label")
    decisions = [Decision(kind, 0.5, 0.5, position) for kind, position in product(types, range(1, 256))]
    for task, outcome, number in product(TASKS, OUTCOMES, range(100)):
        metrics.observe_request(
            chat(
                task=task,
                outcome=outcome,
                stream=number % 2 and task != "decision",
                tenant=f"tenant{number}" if number else None,
                trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
                tokenize=0.1,
                detokenize=0.1,
                decisions=decisions,
            )
        )
    metrics.rejected("chat", "invalid")
    for (path, method), status in product(routes(), (200, 404, 500)):
        metrics.http(path, method, status)
    for method, status in product(("GET", "HEAD", "POST", "OPTIONS", "BREW"), (200, 404, 500)):
        metrics.http("unmatched", method, status)


def test_series_stay_below_a_thousand_whatever_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    install(StandIn(100), monkeypatch)
    metrics = metrics_with(vllm_aliases=True)
    exercise(metrics)
    assert len(samples(metrics)) < MOST_SERIES


def test_every_route_starts_at_zero() -> None:
    found = samples(build_app(FakeEngine()).state.services.metrics)
    for route, method in (("/v1/chat/completions", "POST"), ("/docs/{name}", "GET"), ("/livez", "HEAD")):
        for status in STATUSES:
            labels = {"route": route, "method": method, "status": status}
            assert found[f"repartee_{HTTP}", frozenset(labels.items())] == 0


def test_a_method_that_nobody_knows_is_no_label_of_its_own() -> None:
    metrics = metrics_with()
    for method in ("BREW", "PROPFIND", "get", "x" * 50):
        metrics.http("unmatched", method, 404)
    assert {label["method"] for label in labels_of(metrics, HTTP) if label["route"] == "unmatched"} == {
        "other"
    }
