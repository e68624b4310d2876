"""The error budgets: how fast they are spent over several windows, and whom that wakes.

A service that spends its budget at rate 1 has none left after 30 days. Each alert asks two windows: the long one
says that it matters, the short one that it still goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.observation import Task
from app.slos import Slo, SloName
from deploy.prometheus.alert import Alert, Severity

PERIOD_DAYS = 30
MINIMUM_BAD_REQUESTS = 10
"""Fewer bad requests within the long window alert nobody, however large their share of a quiet hour is."""

_BY = "sum by (job, namespace, model, task, slo)"
_LONG_INTERVAL = "2m"
"""Windows of hours need no new value every few seconds; it is below the five minutes in which a value grows stale."""


@dataclass(frozen=True)
class Burn:
    """A pace of spending that alerts: `rate` times what 30 days allow, over both windows."""

    alert: str
    severity: Severity
    rate: float
    long: str
    short: str


BURNS = (
    Burn("ErrorBudgetBurnFast", "page", 14.4, "1h", "5m"),
    Burn("ErrorBudgetBurnFast", "page", 6, "6h", "30m"),
    Burn("ErrorBudgetBurnSlow", "ticket", 3, "1d", "2h"),
    Burn("ErrorBudgetBurnSlow", "ticket", 1, "3d", "6h"),
)
_JUDGED = {
    "record": "repartee:slo_requests:increase1h",
    "expr": f"{_BY} (increase(repartee_slo_events_total[1h]))",
}
"""What bad requests are a share of: dashboards sum both over 30 days, whatever the number of replicas."""
_WINDOWS = ("5m", "30m", "1h", "2h")
_LONG_WINDOWS = ("6h", "1d", "3d")
_MISSED: dict[SloName, str] = {
    "availability": "failed or were refused for the state of the service",
    "ttft": "waited longer than {threshold:g} s for their first token",
    "itl": "got their tokens more than {threshold:g} s apart{or_stalled}",
    "e2e": "took longer than {threshold:g} s",
}


def burn_rate_groups(slos: Sequence[Slo], runbook: str) -> list[dict[str, Any]]:
    """The groups of rules: ratios over short windows, over long ones, and alerts on both."""
    counted = {burn.long for burn in BURNS}
    return [
        {"name": "repartee-slo-ratios", "rules": [*_recorded(_WINDOWS, counted), _JUDGED]},
        {
            "name": "repartee-slo-ratios-long",
            "interval": _LONG_INTERVAL,
            "rules": _recorded(_LONG_WINDOWS, counted),
        },
        {
            "name": "repartee-slo-alerts",
            "rules": [
                _alert(slo, task, burn).rule(runbook) for slo in slos for task in slo.tasks for burn in BURNS
            ],
        },
    ]


def _recorded(windows: Sequence[str], counted: set[str]) -> list[dict[str, Any]]:
    """For each window the share of bad requests (none without traffic); for those that alerts count, their number."""
    rules = []
    for window in windows:
        good, events = (f"{_BY} (rate(repartee_slo_{name}_total[{window}]))" for name in ("good", "events"))
        rules.append(
            # A scrape may fall between the two counts of a request: then a short window has more good ones than any.
            {
                "record": f"repartee:slo_error_ratio:rate{window}",
                "expr": f"clamp_min(1 - {good} / ({events} > 0), 0)",
            }
        )
    for window in windows:
        if window in counted:
            bad = " - ".join(f"increase(repartee_slo_{name}_total[{window}])" for name in ("events", "good"))
            rules.append({"record": f"repartee:slo_bad_requests:increase{window}", "expr": f"{_BY} ({bad})"})
    return rules


def _alert(slo: Slo, task: Task, burn: Burn) -> Alert:
    budget = 1 - slo.objective
    series = f'{{slo="{slo.name}",task="{task}"}}'
    over = f"{series} > {burn.rate:g} * {budget:.6g}"
    or_stalled = f" on average, or none for {slo.stall_seconds:g} s" if slo.stall_seconds else " on average"
    missed = _MISSED[slo.name].format(threshold=slo.threshold_seconds, or_stalled=or_stalled)
    return Alert(
        burn.alert,
        burn.severity,
        f"repartee:slo_error_ratio:rate{burn.long}{over}\n"
        f"and repartee:slo_error_ratio:rate{burn.short}{over}\n"
        f"and repartee:slo_bad_requests:increase{burn.long}{series} >= {MINIMUM_BAD_REQUESTS}",
        summary=f"{task} requests miss their objective {slo.name}",
        description=f"{{{{ $value | humanizePercentage }}}} of the {task} requests of {{{{ $labels.model }}}} within "
        f"{burn.long} {missed}, and it goes on; {budget * 100:.6g}% may. At {burn.rate:g} times that, the budget of "
        f"{PERIOD_DAYS} days is spent in {PERIOD_DAYS / burn.rate:.2g} days.",
        labels={"slo": slo.name, "task": task, "window": burn.long},
    )
