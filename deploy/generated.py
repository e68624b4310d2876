"""The commands that write files from the table of objectives: rules, dashboards, the PrometheusRule."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.slos import DEFAULT_FILE, InvalidSlos, Slo, load_slos
from deploy.prometheus.alert import RUNBOOK


def parser_of(package: str, writes: str, folder: Path) -> argparse.ArgumentParser:
    """The options that all of these commands have.

    Args:
        package: the generator's, below `deploy`.
        writes: what it writes, as the help says it.
        folder: where to, by default.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m deploy.{package}.generate", description=f"Write {writes} from the objectives."
    )
    parser.add_argument(
        "--slos",
        type=Path,
        default=os.environ.get("REPARTEE_SLO_FILE") or DEFAULT_FILE,
        help="table of objectives; default: REPARTEE_SLO_FILE, else app/slos.toml",
    )
    parser.add_argument("--output", type=Path, default=folder, help="folder that is written to")
    parser.add_argument("--runbook", default=RUNBOOK, help="address of docs/runbook.md, for links")
    return parser


def write_files(options: argparse.Namespace, make: Callable[[Sequence[Slo]], Mapping[str, str]]) -> int:
    """Write the texts that `make` gives by file name; returns the exit code.

    It is 2, after one line, where the table cannot be used or the files cannot be written.
    """
    try:
        files = make(load_slos(options.slos))
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
