"""Write rules/slo.yml and rules/causes.yml from the table of objectives.

python -m deploy.prometheus.generate [--slos FILE] [--output FOLDER] [--runbook ADDRESS] [--job NAME]
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from app.slos import DEFAULT_FILE, InvalidSlos, Slo, load_slos
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
    """Write the files; returns 2, after one line, where the table cannot be used or the files cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.prometheus.generate",
        description="Write Prometheus' rules from the objectives.",
    )
    parser.add_argument(
        "--slos",
        type=Path,
        default=os.environ.get("REPARTEE_SLO_FILE") or DEFAULT_FILE,
        help="table of objectives; default: REPARTEE_SLO_FILE, else app/slos.toml",
    )
    parser.add_argument("--output", type=Path, default=RULES, help="folder of the rule files")
    parser.add_argument("--runbook", default=RUNBOOK, help="address of docs/runbook.md, for links in alerts")
    parser.add_argument("--job", default=JOB, help="name of the scrape job")
    options = parser.parse_args(arguments)
    try:
        files = rule_files(load_slos(options.slos), runbook=options.runbook, job=options.job)
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
