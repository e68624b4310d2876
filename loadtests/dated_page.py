"""`--write` of commands whose report is one page without pictures: docs/benchmarks/DATE-NAME.md."""

import argparse
import datetime
import sys
from pathlib import Path

from loadtests.machine import machine

BENCHMARKS = Path(__file__).parent.parent / "docs" / "benchmarks"


def add_option(parser: argparse.ArgumentParser, name: str) -> None:
    """`--write`."""
    parser.add_argument("--write", action="store_true", help=f"write docs/benchmarks/DATE-{name}.md")


def headed(title: str, command: str, text: str) -> str:
    """A text under what it is, where it was measured, and how to measure it again."""
    facts = "\n".join(f"- {name}: {value}" for name, value in machine().items())
    return f"# {title}, {datetime.date.today().isoformat()}\n\n{facts}\n\nReproduce: `{command}`\n\n{text}"


def publish(name: str, page: str, *, write: bool) -> None:
    """Print a page, and write it where that was asked for.

    Raises:
        OSError: it cannot be written.
    """
    print(page)
    if write:
        _write(name, page)


def _write(name: str, page: str) -> None:
    """Write the page of today, and say where.

    Raises:
        OSError: it cannot be written.
    """
    BENCHMARKS.mkdir(parents=True, exist_ok=True)
    path = BENCHMARKS / f"{datetime.date.today().isoformat()}-{name}.md"
    path.write_text(page.rstrip() + "\n", encoding="utf-8")
    print(f"wrote {path}", file=sys.stderr)
