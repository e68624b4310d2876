"""The runbook's figures of the objectives are those of the table and of the rules."""

from app.slos import load_slos
from deploy.prometheus.burn_rates import BURNS, MINIMUM_BAD_REQUESTS, PERIOD_DAYS
from tests.service.running_service import ROOT

_HOURS = {"h": 1, "d": 24}


def _objectives() -> str:
    return (ROOT / "docs/runbook.md").read_text().partition("\n## Objectives\n")[2]


def _rows(first: str) -> list[list[str]]:
    """The cells of the rows whose first cell is this."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in _objectives().splitlines() if line]
    return [row for row in cells if row and row[0] == first]


def test_the_table_of_objectives_is_that_of_the_service() -> None:
    for slo in load_slos():
        (row,) = _rows(f"`{slo.name}`")
        assert row[1] == ", ".join(slo.tasks)
        assert slo.threshold_seconds is None or f"{slo.threshold_seconds:g} s" in row[2]
        assert row[3] == f"{slo.objective * 100:g} %"
        budget = 1 - slo.objective
        assert row[4] == f"{budget * 100:.6g} %: of a million requests, {round(budget * 1e6):,}"


def test_the_windows_are_those_of_the_rules() -> None:
    for burn in BURNS:
        (row,) = _rows(burn.long)
        hours = int(burn.long[:-1]) * _HOURS[burn.long[-1]]
        spent = burn.rate * hours / (PERIOD_DAYS * 24)
        assert row[1:3] == [burn.short, f"{burn.rate:g}"]
        assert row[3].startswith(f"{spent * 100:g} %")
        assert row[4] == f"[{burn.severity}](#repartee{burn.alert.lower()})"
    assert MINIMUM_BAD_REQUESTS == 10 and "fewer than ten bad ones" in _objectives()
