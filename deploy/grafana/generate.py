"""Write the dashboards in dashboards/ from the code beside this file and the table of objectives.

python -m deploy.grafana.generate [--slos FILE] [--output FOLDER] [--runbook ADDRESS]
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from app.slos import DEFAULT_FILE, InvalidSlos, Slo, load_slos
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
    """Write the files; returns 2, after one line, where the table cannot be used or the files cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.grafana.generate",
        description="Write Grafana's dashboards from the objectives.",
    )
    parser.add_argument(
        "--slos",
        type=Path,
        default=os.environ.get("REPARTEE_SLO_FILE") or DEFAULT_FILE,
        help="table of objectives; default: REPARTEE_SLO_FILE, else app/slos.toml",
    )
    parser.add_argument("--output", type=Path, default=DASHBOARDS, help="folder of the dashboards")
    parser.add_argument("--runbook", default=RUNBOOK, help="address of docs/runbook.md, for links of panels")
    options = parser.parse_args(arguments)
    try:
        files = dashboard_files(load_slos(options.slos), runbook=options.runbook)
        options.output.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (options.output / name).write_text(text, encoding="utf-8")
    except InvalidSlos as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{options.output} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
