"""What the dashboards need of the table of objectives (`app/slos.toml`)."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.slos import Slo, SloName
from deploy.grafana.queries import OF_INSTALLATION, growth, series, share, total
from deploy.prometheus.burn_rates import BURNS

BUDGET_WINDOW = "30d"
"""An objective is a share of the requests of so long."""


@dataclass(frozen=True)
class Objectives:
    """The table; every threshold and objective on a dashboard comes from it."""

    slos: Sequence[Slo]

    def limit(self, name: SloName) -> float | None:
        """The strictest threshold of an objective in seconds; None where the table has none."""
        return min(
            (slo.threshold_seconds for slo in self.slos if slo.name == name and slo.threshold_seconds),
            default=None,
        )

    def objective(self, name: SloName) -> float | None:
        """The strictest share of an objective; None where the table has none."""
        return max((slo.objective for slo in self.slos if slo.name == name), default=None)

    def page_burn(self, window: str) -> float:
        """The burn rate over a window at which the alert on it fires."""
        return next(burn.rate for burn in BURNS if burn.long == window)

    def budget_left(self) -> list[str]:
        """Share of the error budget that is left, by task and objective: one expression an entry of the table.

        Summed over what the rules record for one hour each, so that it costs the same with many replicas. Every
        request is in many of these hours, good or bad alike, and the sums are only compared with each other.
        """
        expressions = []
        for slo in self.slos:
            bad, requests = (
                f"sum by (task, slo) (sum_over_time({_recorded(f'slo_{name}:increase1h', slo)}[{BUDGET_WINDOW}]))"
                for name in ("bad_requests", "requests")
            )
            expressions.append(f"1 - ({share(_not_negative(bad), requests)}) / {_budget(slo)}")
        return expressions

    def burn(self, window: str) -> list[str]:
        """How many times faster than the objective allows the budget goes: one expression an entry of the table."""
        expressions = []
        for slo in self.slos:
            ratio = _recorded(f"slo_error_ratio:rate{window}", slo)
            worst = _not_negative(f"max by (task, slo) ({ratio})")
            unasked = f"0 * {total(series('repartee_slo_events_total', _of(slo)), 'task, slo')}"
            expressions.append(f"({worst} or {unasked}) / {_budget(slo)}")
        return expressions

    def met(self, name: SloName, window: str) -> str:
        """Share of the requests of all tasks that met an objective; 1 without requests."""
        of = f'slo="{name}"'
        requests = growth("repartee_slo_events_total", where=of, window=window)
        good = growth("repartee_slo_good_total", where=of, window=window)
        return f"1 - ({share(_not_negative(f'{requests} - {good}'), requests)})"


def _not_negative(bad: str) -> str:
    """A scrape may fall between the counts of one request, so that a short window has more good requests than any."""
    return f"clamp_min({bad}, 0)"


def _recorded(rule: str, slo: Slo) -> str:
    """What a rule recorded for an objective: by job, namespace and model, of all replicas."""
    return series(f"repartee:{rule}", _of(slo), of=f'{OF_INSTALLATION}, model=~"$model"')


def _of(slo: Slo) -> str:
    return f'slo="{slo.name}", task=~"{"|".join(slo.tasks)}"'


def _budget(slo: Slo) -> str:
    """The share of requests that may miss; rounded, as 1 - 0.999 is 0.0010000000000000009."""
    return f"{round(1 - slo.objective, 9):g}"
