"""Write rules/slo.yml and rules/causes.yml from the table of objectives.

python -m deploy.prometheus.generate [--slos FILE] [--output FOLDER] [--runbook ADDRESS] [--job NAME]
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from app.slos import Slo
from deploy.generated import parser_of, write_files
from deploy.prometheus.alert import RUNBOOK
from deploy.prometheus.burn_rates import burn_rate_groups
from deploy.prometheus.causes import cause_groups

RULES = Path(__file__).with_name("rules")
JOB = "repartee"
_HEADER = """\
# Made by `python -m deploy.prometheus.generate` from app/slos.toml, or the file that REPARTEE_SLO_FILE names: change
# that or the generator.
"""


def rule_groups(slos: Sequence[Slo], *, runbook: str = RUNBOOK, job: str = JOB) -> list[dict[str, Any]]:
    """All groups of rules, as they stand below `groups` of a rule file or `spec.groups` of a PrometheusRule."""
    return [group for groups in _files(slos, runbook, job).values() for group in groups]


def rule_files(slos: Sequence[Slo], *, runbook: str = RUNBOOK, job: str = JOB) -> dict[str, str]:
    """The text of each rule file by its name."""
    return {
        name: _HEADER + yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, width=1000)
        for name, groups in _files(slos, runbook, job).items()
    }


def _files(slos: Sequence[Slo], runbook: str, job: str) -> dict[str, list[dict[str, Any]]]:
    return {
        "slo.yml": burn_rate_groups(slos, runbook),
        "causes.yml": cause_groups(slos, runbook, job),
    }


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes text of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def main(arguments: Sequence[str]) -> int:
    """Write the files; returns the exit code."""
    parser = parser_of("prometheus", "Prometheus' rules", RULES)
    parser.add_argument("--job", default=JOB, help="name of the scrape job")
    options = parser.parse_args(arguments)
    return write_files(options, lambda slos: rule_files(slos, runbook=options.runbook, job=options.job))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
