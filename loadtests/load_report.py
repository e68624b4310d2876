"""The dated page of a load: markdown, and beside it the pictures and one HTML file."""

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.bench import page
from app.bench.figures import Figures
from app.bench.markdown import aligned, number
from app.bench.plots import Picture, RatePoint
from app.bench.summary import share_text
from loadtests.machine import machine

BENCHMARKS = Path(__file__).parent.parent / "docs" / "benchmarks"


def write(
    directory: Path,
    name: str,
    title: str,
    command: str,
    text: str,
    pictures: Mapping[str, Picture],
) -> list[Path]:
    """Write `DATE-NAME.md`, its pictures and `DATE-NAME.html`; returns the paths.

    Args:
        text: the report below title and facts, in markdown.

    Raises:
        OSError: they cannot be written.
    """
    command = re.sub(r" --out (\S+)", "", command)  # a place on this machine alone
    today = datetime.date.today().isoformat()
    stem, facts = f"{today}-{name}", {"date": today, **machine(), "command": command}
    written = page.save(directory, stem, title, facts, pictures, text)
    shown = "\n".join(f"![{picture.title}]({stem}-{kind}.png)\n" for kind, picture in pictures.items())
    lines = "\n".join(f"- {fact}: {value}" for fact, value in facts.items() if fact != "command")
    path = directory / f"{stem}.md"
    path.write_text(f"# {title}\n\n{lines}\n\nReproduce: `{command}`\n\n{text}\n\n{shown}", encoding="utf-8")
    return [path, *written]


def rates_table(points: Sequence[RatePoint], verdicts: Mapping[float, str]) -> str:
    """One row a rate, slowest first."""
    rows = [
        [
            number(point.rate),
            number(point.figures.requests),
            *_row(point.figures),
            verdicts[point.rate],
        ]
        for point in sorted(points, key=lambda point: point.rate)
    ]
    head = [
        *("requests/s", "sent", "goodput/s", "failed", "TTFT p50 ms", "TTFT p99 ms", "gap p50 ms", "gap p99 ms"),
        *("decision p99 ms", "least objective met", "client lag p99 ms", "verdict"),
    ]  # fmt: skip
    return aligned(head, rows)


def _row(found: Figures) -> list[str]:
    met = [one.share for one in found.attainments if one.of]
    in_ms = [found.ttft[0.5], found.ttft[0.99], found.gap[0.5], found.gap[0.99], found.decision_total[0.99]]
    return [
        number(found.goodput),
        number(found.failed),
        *(number(value * 1e3) for value in in_ms),
        share_text(min(met, default=math.nan)),
        number(found.lag[0.99] * 1e3),
    ]
