"""Write the PrometheusRule: the rules of deploy/prometheus as an object of the Prometheus Operator.

python -m deploy.kubernetes.generate [--slos FILE] [--output FOLDER] [--runbook ADDRESS]
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from app.slos import Slo
from deploy.generated import parser_of, write_files
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
    """Write the file; returns the exit code."""
    options = parser_of("kubernetes", "the PrometheusRule", OUTPUT.parent).parse_args(arguments)
    return write_files(options, lambda slos: {OUTPUT.name: prometheus_rule(slos, runbook=options.runbook)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
