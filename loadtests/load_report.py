"""The dated page of a load: markdown, and beside it the pictures and one HTML file."""

import argparse
import datetime
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.bench import page, plots
from app.bench.figures import percentile
from app.bench.markdown import aligned, number
from app.bench.plots import Picture, RatePoint
from app.bench.sample import Sample
from app.bench.summary import share_text
from loadtests.dated_page import BENCHMARKS
from loadtests.machine import machine
from loadtests.target import Refused

_ELSEWHERE = Path(tempfile.gettempdir()) / "repartee-loads"


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--write` and `--out`."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--write",
        dest="out",
        action="store_const",
        const=BENCHMARKS,
        default=_ELSEWHERE,
        help="the page goes to docs/benchmarks",
    )
    place.add_argument(
        "--out", type=Path, default=_ELSEWHERE, metavar="DIR", help=f"or there; default: {_ELSEWHERE}"
    )


def prepare(directory: Path) -> None:
    """Make the directory of the page, before a load is sent whose report could not be written.

    Raises:
        Refused: it cannot be written, or nothing draws the pictures.
    """
    if not plots.can_plot():
        raise Refused("the pictures need matplotlib, which requirements/dev.txt has")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise Refused(f"{directory}: {error.strerror}") from error


def write(
    directory: Path,
    name: str,
    title: str,
    command: str,
    text: str,
    pictures: Mapping[str, Picture],
) -> list[Path]:
    """Write `DATE-NAME.md`, its pictures and `DATE-NAME.html`; returns the paths.

    Those of `BENCHMARKS` are written once more without a date, for docs/load-testing.md to show the latest.

    Args:
        text: the report below title and facts, in markdown.

    Raises:
        OSError: they cannot be written.
    """
    command = re.sub(r" --out[ =]('[^']*'|\S+)", "", command)  # a place on this machine alone
    today = datetime.date.today().isoformat()
    stem, facts = f"{today}-{name}", {"date": today, **machine(), "command": command}
    written = page.save(directory, stem, title, facts, pictures, text)
    shown = "\n".join(f"![{picture.title}]({stem}-{kind}.png)\n" for kind, picture in pictures.items())
    lines = "\n".join(f"- {fact}: {value}" for fact, value in facts.items() if fact != "command")
    path = directory / f"{stem}.md"
    path.write_text(f"# {title}\n\n{lines}\n\nReproduce: `{command}`\n\n{text}\n\n{shown}", encoding="utf-8")
    if directory == BENCHMARKS:
        for kind, picture in pictures.items():
            picture.save(BENCHMARKS.parent / f"{name}-{kind}.png")
    return [path, *written]


def kinds_table(samples: Sequence[Sample]) -> str:
    """One row a kind of request, in the order of their names; `whole` is what those who stayed waited in all."""
    rows = []
    for kind in sorted({sample.kind for sample in samples}):
        these = [sample for sample in samples if sample.kind == kind]
        firsts = [sample.first for sample in these if sample.first is not None]
        wholes = [sample.total for sample in these if sample.outcome == "ok"]
        ms = [percentile(values, share) * 1e3 for values in (firsts, wholes) for share in (0.5, 0.99)]
        failed = sum(sample.outcome == "error" for sample in these)
        rows.append([kind, number(len(these)), number(failed), *map(number, ms)])
    head = ["asked", "requests", "failed", "TTFT p50 ms", "TTFT p99 ms", "whole p50 ms", "whole p99 ms"]
    return aligned(head, rows)


@dataclass(frozen=True)
class Tried:
    """One rate of a sweep.

    Attributes:
        done: answers a second, of those that came while the rate lasted.
    """

    point: RatePoint
    done: float
    verdict: str


def rates_table(tried: Sequence[Tried]) -> str:
    """One row a rate, slowest first."""
    head = [
        *("offered/s", "sent", "done/s", "goodput/s", "failed", "TTFT p50 ms", "TTFT p99 ms", "per token p99 ms"),
        *("gap p99 ms", "decision p99 ms", "least objective met", "client lag p99 ms", "verdict"),
    ]  # fmt: skip
    return aligned(head, [_row(one) for one in sorted(tried, key=lambda one: one.point.rate)])


def _row(tried: Tried) -> list[str]:
    found = tried.point.figures
    met = [one.share for one in found.attainments if one.of]
    worst = [values[0.99] for values in (found.ttft, found.per_token, found.gap, found.decision_total)]
    return [
        number(tried.point.rate),
        number(found.requests),
        number(tried.done),
        number(found.goodput),
        number(found.failed),
        *(number(value * 1e3) for value in (found.ttft[0.5], *worst)),
        share_text(min(met, default=math.nan)),
        number(found.lag[0.99] * 1e3),
        tried.verdict,
    ]
