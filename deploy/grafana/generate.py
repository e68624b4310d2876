"""Write the dashboards in dashboards/ from the code beside this file and the table of objectives.

python -m deploy.grafana.generate [--slos FILE] [--output FOLDER] [--runbook ADDRESS]
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from app.slos import Slo
from deploy.generated import parser_of, write_files
from deploy.grafana.board import build
from deploy.grafana.decisions import decisions
from deploy.grafana.engine import engine
from deploy.grafana.latency import latency
from deploy.grafana.objectives import Objectives
from deploy.grafana.overview import overview
from deploy.grafana.tenants import tenants
from deploy.prometheus.alert import RUNBOOK

DASHBOARDS = Path(__file__).with_name("dashboards")


def dashboard_files(slos: Sequence[Slo], *, runbook: str = RUNBOOK) -> dict[str, str]:
    """The text of each dashboard by the name of its file."""
    objectives = Objectives(slos)
    boards = [make(objectives) for make in (overview, latency, engine, decisions, tenants)]
    encoder = JSONEncoder(sort_keys=True, indent=1)
    return {f"{board.uid}.json": encoder.encode(build(board, runbook)) + "\n" for board in boards}


def main(arguments: Sequence[str]) -> int:
    """Write the files; returns the exit code."""
    options = parser_of("grafana", "Grafana's dashboards", DASHBOARDS).parse_args(arguments)
    return write_files(options, lambda slos: dashboard_files(slos, runbook=options.runbook))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
