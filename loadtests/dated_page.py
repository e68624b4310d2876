"""`--write` of commands whose report is one page without pictures: docs/benchmarks/DATE-NAME.md."""

import argparse
import datetime
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "docs" / "benchmarks"


def add_option(parser: argparse.ArgumentParser, name: str) -> None:
    """`--write`."""
    parser.add_argument("--write", action="store_true", help=f"write docs/benchmarks/DATE-{name}.md")


def write(name: str, page: str) -> None:
    """Write the page of today, and say where.

    Raises:
        OSError: it cannot be written.
    """
    BENCHMARKS.mkdir(parents=True, exist_ok=True)
    path = BENCHMARKS / f"{datetime.date.today().isoformat()}-{name}.md"
    path.write_text(page.rstrip() + "\n", encoding="utf-8")
    print(f"wrote {path}", file=sys.stderr)
