"""The committed dashboards, as the tests read them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deploy.grafana.generate import DASHBOARDS

BOARDS: dict[str, Any] = {
    path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))
}

WINDOWS = {"$__rate_interval": "1m", "$__range": "5m"}
CHOICES = {
    "$job": "repartee",
    "$namespace": ".*",
    **dict.fromkeys(("$instance", "$model", "$task", "$tenant"), ".+"),
}


@dataclass(frozen=True)
class Asked:
    """One query of one panel."""

    panel: str
    expression: str
    legend: str


def panels(board: Any) -> Iterator[Any]:
    """The panels of a dashboard, those below closed headings too, without the headings."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def filled(expression: str, **choices: str) -> str:
    """An expression as Grafana sends it: windows and choices in place of the variables."""
    for variable, value in {**WINDOWS, **CHOICES, **choices}.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return expression


def asked() -> Iterator[Asked]:
    """Every query of every panel of every dashboard."""
    for name, board in BOARDS.items():
        for panel in panels(board):
            for target in panel["targets"]:
                where = f"{name}: {panel['title']}: {target['refId']}"
                yield Asked(where, target["expr"], target.get("legendFormat", ""))
