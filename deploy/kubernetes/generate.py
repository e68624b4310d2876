"""Write the PrometheusRule: the rules of deploy/prometheus as an object of the Prometheus Operator.

python -m deploy.kubernetes.generate [--slos FILE] [--output FILE] [--runbook ADDRESS]
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from app.slos import DEFAULT_FILE, InvalidSlos, Slo, load_slos
from deploy.prometheus.alert import RUNBOOK
from deploy.prometheus.generate import rule_groups

OUTPUT = Path(__file__).parent / "components" / "monitoring" / "prometheus-rule.yaml"
_HEADER = """\
# Made by `python -m deploy.kubernetes.generate` from the rules of deploy/prometheus: change those.
"""


def prometheus_rule(slos: Sequence[Slo], *, runbook: str = RUNBOOK) -> str:
    """The manifest of all rules."""
    labels = {"app.kubernetes.io/name": "repartee"}
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "repartee", "labels": labels},
        "spec": {"groups": rule_groups(slos, runbook=runbook)},
    }
    return _HEADER + str(yaml.safe_dump(manifest, sort_keys=False, width=1000))


def main(arguments: Sequence[str]) -> int:
    """Write the file; returns 2, after one line, where the table cannot be used or the file cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.kubernetes.generate",
        description="Write the PrometheusRule from the objectives.",
    )
    parser.add_argument(
        "--slos",
        type=Path,
        default=os.environ.get("REPARTEE_SLO_FILE") or DEFAULT_FILE,
        help="table of objectives; default: REPARTEE_SLO_FILE, else app/slos.toml",
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the manifest")
    parser.add_argument("--runbook", default=RUNBOOK, help="address of docs/runbook.md, for links in alerts")
    options = parser.parse_args(arguments)
    try:
        options.output.write_text(prometheus_rule(load_slos(options.slos), runbook=options.runbook), "utf-8")
    except InvalidSlos as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{options.output} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
