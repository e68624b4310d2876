"""Which alerts the real Alertmanager holds back while others fire, with the shipped configuration."""

import time
from datetime import UTC, datetime
from typing import Any

import httpx

from tests.deploy.prometheus.alertmanager import receiving, running_alertmanager

CHAT = {"model": "m", "task": "chat", "slo": "ttft"}
_ANSWER_SECONDS = 20


def alert(name: str, severity: str, **labels: str) -> dict[str, Any]:
    """An alert of the job `repartee`, unless the labels say otherwise."""
    return {
        "labels": {"alertname": name, "severity": severity, "job": "repartee", **labels},
        "startsAt": datetime.now(UTC).isoformat(),
    }


def held_back(*alerts: dict[str, Any]) -> list[str]:
    """The names of those that Alertmanager tells nobody of.

    It takes alerts in their order, so that all were judged as soon as a known pair behind them was.
    """
    known_pair = [alert("ReparteeErrors", "ticket", job="last"), alert("ReparteeDown", "page", job="last")]
    with receiving() as receiver, running_alertmanager(receiver) as address:
        url = f"http://{address}/api/v2/alerts"
        httpx.post(url, json=[*alerts, *known_pair]).raise_for_status()
        limit = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < limit:
            held = [one["labels"] for one in httpx.get(url).json() if one["status"]["inhibitedBy"]]
            if any(labels["job"] == "last" for labels in held):
                return sorted(labels["alertname"] for labels in held if labels["job"] != "last")
            time.sleep(0.1)
    raise TimeoutError(f"not all alerts were judged within {_ANSWER_SECONDS} s")


def test_nothing_but_the_watchdog_is_news_of_a_job_that_is_down() -> None:
    held = held_back(
        alert("ReparteeDown", "page"),
        alert("ReparteeNoneReady", "page"),
        alert("ReparteeErrorBudgetBurnFast", "page", **CHAT),
        alert("ReparteeErrors", "ticket", model="m"),
        alert("ReparteeNoTraffic", "info"),
        alert("ReparteeTTFTHigh", "ticket", job="other"),
        alert("ReparteeQueueStuck", "page", namespace="other"),
        alert("ReparteeWatchdog", "none"),
    )
    assert held == [
        "ReparteeErrorBudgetBurnFast",
        "ReparteeErrors",
        "ReparteeNoTraffic",
        "ReparteeNoneReady",
    ]


def test_a_page_holds_back_the_tickets_of_its_own_objective() -> None:
    page = alert("ReparteeErrorBudgetBurnFast", "page", **CHAT)
    slow = "ReparteeErrorBudgetBurnSlow"
    assert held_back(page, alert(slow, "ticket", **CHAT)) == [slow]
    assert held_back(page, alert(slow, "ticket", **{**CHAT, "slo": "itl"})) == []
    assert held_back(page, alert(slow, "ticket", **CHAT, namespace="other")) == []
    assert held_back(page, alert(slow, "ticket", **{**CHAT, "task": "completion"})) == []


def test_a_page_that_is_of_no_objective_holds_back_no_ticket_for_a_cause() -> None:
    page = alert("ReparteeQueueStuck", "page", instance="a", model="m")
    assert held_back(page, alert("ReparteeRestarting", "ticket", instance="a", model="m")) == []


def test_one_page_stands_for_the_replicas_that_are_not_ready() -> None:
    replicas = [alert("ReparteeNotReady", "ticket", instance=name) for name in "ab"]
    saturated = alert("ReparteeQueueSaturated", "ticket", instance="a")
    assert held_back(alert("ReparteeNoneReady", "page"), *replicas, saturated) == ["ReparteeNotReady"] * 2
    assert held_back(alert("ReparteeNoneReady", "page", namespace="other"), *replicas) == []
