"""Tenants: those of the keys file, a bounded number of them, and nobody else's names."""

import pytest

from app.metric_families.tenants import MOST_TENANTS
from app.metrics import Metrics
from tests.exposition import MODEL, chat, labels_of, value


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(MODEL)


def tenants(metrics: Metrics) -> set[str]:
    names = ("tenant_requests_total", "tenant_tokens_total", "tenant_time_to_first_token_seconds_count")
    return {labels["tenant"] for name in names for labels in labels_of(metrics, name)}


def test_without_keys_all_is_nobodys(metrics: Metrics) -> None:
    metrics.observe_request(chat())
    assert tenants(metrics) == {"-"}
    assert value(metrics, "tenant_requests_total", tenant="-", outcome="ok") == 1


def test_requests_tokens_and_first_tokens_are_counted_by_tenant(metrics: Metrics) -> None:
    metrics.know_tenants(["acme", "globex", "acme"])
    metrics.observe_request(chat(tenant="acme"))
    metrics.observe_request(chat(tenant="acme", task="decision", stream=False, first_token=None))
    metrics.observe_request(chat(tenant="globex", outcome="rejected"))
    metrics.observe_request(chat(outcome="rejected"))
    assert tenants(metrics) == {"-", "acme", "globex"}
    assert value(metrics, "tenant_requests_total", tenant="acme", outcome="ok") == 2
    assert value(metrics, "tenant_requests_total", tenant="globex", outcome="rejected") == 1
    assert value(metrics, "tenant_requests_total", tenant="-", outcome="rejected") == 1
    kinds = {
        kind: value(metrics, "tenant_tokens_total", tenant="acme", type=kind) for kind in ("prompt", "cached")
    }
    assert kinds == {"prompt": 20, "cached": 8}
    assert value(metrics, "tenant_tokens_total", tenant="acme", type="generated") == 22
    assert value(metrics, "tenant_tokens_total", tenant="globex", type="prompt") == 0
    assert value(metrics, "tenant_time_to_first_token_seconds_count", tenant="acme") == 1
    assert value(metrics, "tenant_time_to_first_token_seconds_sum", tenant="acme") == pytest.approx(0.03)


def test_many_tenants_are_the_first_and_the_others(metrics: Metrics) -> None:
    names = [f"tenant{number}" for number in range(100)]
    metrics.know_tenants(names)
    for name in names:
        metrics.observe_request(chat(tenant=name))
    assert tenants(metrics) == {*names[:MOST_TENANTS], "other", "-"}
    assert value(metrics, "tenant_requests_total", tenant="other", outcome="ok") == 100 - MOST_TENANTS


def test_tenants_of_a_changed_file_come_to_those_that_are_counted_already(metrics: Metrics) -> None:
    metrics.know_tenants(["acme", "globex"])
    metrics.observe_request(chat(tenant="acme"))
    metrics.know_tenants(["initech", "acme"])
    assert tenants(metrics) == {"-", "acme", "globex", "initech"}
    assert value(metrics, "tenant_requests_total", tenant="acme", outcome="ok") == 1
    metrics.know_tenants([f"tenant{number}" for number in range(100)])
    metrics.observe_request(chat(tenant="tenant99"))
    assert len(tenants(metrics) - {"-", "other"}) == MOST_TENANTS
    assert value(metrics, "tenant_requests_total", tenant="other", outcome="ok") == 1
