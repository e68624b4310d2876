"""What being watched costs: the event loop while it is scraped, streams beside a scrape a second, throughput.

    python -m loadtests.metrics_cost [--rounds 7] [--tokens 1000] [--write]

Two services with the embedded model run side by side, one as it is (all metrics, vLLM's names too, log lines; no
traces), one without metrics and with errors alone in its log; only one is asked at a time, in turns. Each round starts
both anew, since two processes that run the same differ by some per cent as long as they live. The lag of the event loop
is what the service itself measures ten times a second, while scrapes follow each other without a pause.
Sixteen streams of random letters speak at once: sampled for the gaps, since their tokens come one by one, and greedy
for the throughput, which is highest then. Ends by itself within ten minutes, with code 1 where a promise was not kept
or not measured.
"""

import argparse
import asyncio
import math
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TypeVar
from urllib.request import Request, urlopen

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from app.bench.client import Timeline, stream
from app.bench.http_stream import RequestFailed
from app.settings import EMBEDDED_MODEL
from loadtests import dated_page
from loadtests.gates import Gate
from loadtests.machine import machine
from loadtests.processes import Running
from loadtests.prompts import letters
from loadtests.ready_service import ready_service
from loadtests.report import gates_table, number, table

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
"""What Prometheus asks for, and the dearer of the two formats."""
LAG = "repartee_event_loop_lag_seconds"
STREAMS = 16
Subject = TypeVar("Subject")
_SETTINGS = {
    "app": {"METRICS_VLLM_ALIASES": "true"},
    "loadtests.unobserved_service": {"LOG_LEVEL": "error"},
}
"""The modules of the two services, and in what their settings differ."""

_LAG_SECONDS = 5.0
_WARM_UP = 4
_PAIRS = 6
"""Comparisons of throughput in a round: they are short, and two percent are less than what one of them varies by."""

Buckets = Counter[float]
"""Observations up to each bound in seconds."""


@dataclass
class Figures:
    """Samples of all rounds; seconds, and tokens a second."""

    scrape: list[float] = field(default_factory=list)
    idle_lag: Buckets = field(default_factory=Counter)
    scraped_lag: Buckets = field(default_factory=Counter)
    gap_alone: list[float] = field(default_factory=list)
    gap_scraped: list[float] = field(default_factory=list)
    speed_watched: list[float] = field(default_factory=list)
    speed_bare: list[float] = field(default_factory=list)
    series: int = 0

    @property
    def speed_ratios(self) -> list[float]:
        """Watched over bare, of each pair."""
        return [watched / bare for watched, bare in zip(self.speed_watched, self.speed_bare, strict=True)]


def scrape(base: str) -> str:
    """One scrape, as Prometheus asks."""
    with urlopen(Request(f"{base}/metrics", headers={"Accept": OPEN_METRICS}), timeout=30) as answer:
        return str(answer.read(), "utf-8")


def buckets_of(exposition: str, name: str) -> Buckets:
    """The buckets of a histogram without labels."""
    return Counter(
        {
            float(sample.labels["le"]): int(sample.value)
            for family in text_string_to_metric_families(exposition)  # type: ignore[no-untyped-call]
            if family.name == name
            for sample in family.samples
            if sample.name.endswith("_bucket")
        }
    )


def bound_of_share(buckets: Buckets, share: float) -> float:
    """The least bound below which this share of all lies; NaN where there is nothing."""
    total = max(buckets.values(), default=0)
    return min(
        (bound for bound, count in buckets.items() if total and count >= share * total), default=math.nan
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def lag(base: str, figures: Figures, *, scraping: bool) -> None:
    """Let the service measure its loop for a while, under scrapes without a pause or in peace."""
    before = buckets_of(await asyncio.to_thread(scrape, base), LAG)
    end = time.perf_counter() + _LAG_SECONDS
    while scraping and time.perf_counter() < end:
        began = time.perf_counter()
        await asyncio.to_thread(scrape, base)
        figures.scrape.append(time.perf_counter() - began)
    await asyncio.sleep(max(0.0, end - time.perf_counter()))
    after = buckets_of(await asyncio.to_thread(scrape, base), LAG)
    after.subtract(before)
    (figures.scraped_lag if scraping else figures.idle_lag).update(after)


async def speak(base: str, model: str, tokens: int, temperature: float, seed: int) -> list[Timeline]:
    """Sixteen streams at once, all of so many tokens."""
    chooser = random.Random(seed)
    body = {
        "model": model,
        "max_tokens": tokens,
        "temperature": temperature,
        "seed": seed,
        "ignore_eos": True,
    }
    url = f"{base}/v1/completions"
    return await asyncio.gather(
        *[stream(url, body | {"prompt": letters(64, chooser)}) for _ in range(STREAMS)]
    )


def speed(timelines: Sequence[Timeline]) -> float:
    """Tokens a second of all streams together."""
    began, ended = min(one.sent for one in timelines), max(one.ended for one in timelines)
    return sum(one.tokens for one in timelines) / (ended - began)


def gap(timelines: Sequence[Timeline]) -> float:
    """The 99th percentile, in seconds, of the gaps between arrivals while all streams speak."""
    begin, end = max(one.texts[0] for one in timelines), min(one.texts[-1] for one in timelines)
    pairs = [pair for timeline in timelines for pair in pairwise(timeline.arrivals)]
    return percentile(
        [later - earlier for earlier, later in pairs if begin <= earlier and later <= end], 0.99
    )


async def scraped_each_second(base: str) -> None:
    """Scrape until cancelled."""
    while True:
        await asyncio.to_thread(scrape, base)
        await asyncio.sleep(1.0)


async def measure(figures: Figures, watched: str, bare: str, model: str, turn: int, tokens: int) -> None:
    """One round, whose order is another than that of the round before."""
    for base in (watched, bare) * _WARM_UP:
        await speak(base, model, tokens, 0.0, 0)  # not counted: it warms up, as does the next
    await speak(watched, model, tokens, 1.0, 0)
    for pair in range(_PAIRS):
        for base in _in_turn(watched, bare, pair):
            found = speed(await speak(base, model, tokens, 0.0, _PAIRS * turn + pair))
            (figures.speed_watched if base == watched else figures.speed_bare).append(found)
    for scraping in _in_turn(False, True, turn):
        await lag(watched, figures, scraping=scraping)
    for scraping in _in_turn(False, True, turn):
        found = await gap_beside_scrapes(watched, model, tokens, turn, scraping=scraping)
        (figures.gap_scraped if scraping else figures.gap_alone).append(found)
    lines = (await asyncio.to_thread(scrape, watched)).splitlines()
    figures.series = sum(not line.startswith("#") for line in lines)


async def gap_beside_scrapes(base: str, model: str, tokens: int, seed: int, *, scraping: bool) -> float:
    """The gap of streams with a scrape a second, or with none."""
    scraper = asyncio.create_task(scraped_each_second(base)) if scraping else None
    try:
        return gap(await speak(base, model, tokens, 1.0, seed))
    finally:
        if scraper:
            scraper.cancel()
            with suppress(asyncio.CancelledError):
                await scraper


def _in_turn(one: Subject, other: Subject, turn: int) -> tuple[Subject, Subject]:
    return (one, other) if turn % 2 else (other, one)


def verdicts(figures: Figures) -> list[Gate]:
    """What was promised: 5 ms of the loop, 1 ms of the gaps, 2 % of the throughput; medians over the rounds."""
    more = [after - before for before, after in zip(figures.gap_alone, figures.gap_scraped, strict=True)]
    median = statistics.median
    return [
        Gate(
            "event-loop lag while scraped, p99, ms",
            1000 * bound_of_share(figures.scraped_lag, 0.99),
            5.0,
            False,
        ),
        Gate(
            "inter-token p99 with a scrape a second, median of pairs, ms more",
            1000 * median(more),
            1.0,
            False,
        ),
        Gate(
            "throughput lost to metrics and log lines, median of pairs, %",
            100 * (1 - median(figures.speed_ratios)),
            2.0,
            False,
        ),
    ]


def report(figures: Figures, command: str) -> str:
    """The dated page."""
    milliseconds = {
        "one scrape": figures.scrape,
        "inter-token p99, 16 streams": figures.gap_alone,
        "inter-token p99, 16 streams, a scrape a second": figures.gap_scraped,
    }
    rows = [
        [name, *_spread([1000 * value for value in values]), "ms"] for name, values in milliseconds.items()
    ]
    lag_rows = []
    for name, lags in (("in peace", figures.idle_lag), ("scraped without a pause", figures.scraped_lag)):
        shares = [number(1000 * bound_of_share(lags, share)) for share in (0.5, 0.9, 0.99)]
        lag_rows.append([name, *shares, str(max(lags.values()))])
    rows.append(["throughput, metrics and log lines", *_spread(figures.speed_watched), "tok/s"])
    rows.append(["throughput, neither", *_spread(figures.speed_bare), "tok/s"])
    ratios = [f"{one:.3f}" for one in _middle_and_ends(figures.speed_ratios)]
    rows.append([f"the same over the other, {len(figures.speed_ratios)} pairs in turns", *ratios, ""])
    return "\n".join(
        [
            f"# What metrics cost, {date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in machine().items()],
            f"- series: {figures.series}",
            f"\nReproduce: `{command}`\n",
            table(["figure", "median", "least", "greatest", "unit"], rows),
            "\nThe event loop oversleeps by at most so many ms (bounds of its buckets):\n",
            table(["", "half", "90 %", "99 %", "samples"], lag_rows),
            "",
            gates_table(verdicts(figures)),
        ]
    )


def _spread(values: Sequence[float]) -> list[str]:
    return [number(one) for one in _middle_and_ends(values)]


def _middle_and_ends(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def main() -> int:
    """Measure in rounds, print the page; returns the exit code (1: a gate that is not passed)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=1000, help="of each stream")
    dated_page.add_option(parser, "metrics")
    arguments = parser.parse_args()
    command = f"python -m loadtests.metrics_cost --rounds {arguments.rounds} --tokens {arguments.tokens}"
    figures = Figures()
    for turn in range(1, arguments.rounds + 1):
        with ExitStack() as stack:
            servers = _start(stack, turn)
            watched, bare = (servers[module][1] for module in _SETTINGS)
            try:
                model = Path(EMBEDDED_MODEL).name
                asyncio.run(measure(figures, watched, bare, model, turn, arguments.tokens))
            except RequestFailed as failure:
                logs = "\n".join(server.tail() for server, _ in servers.values())
                sys.exit(f"{failure} The services' last words:\n{logs}")
    page = report(figures, command)
    dated_page.publish("metrics", page, write=arguments.write)
    return exit_code(figures)


def _start(stack: ExitStack, turn: int) -> dict[str, tuple[Running, str]]:
    """Both services, ready, with their addresses: each turn the other one first."""
    started = {}
    watched, bare = _SETTINGS
    for module in _in_turn(watched, bare, turn):
        settings = {"DEVICE": "cpu", "KV_CACHE_TOKENS": "32768", "LOG_FORMAT": "json"}
        service = stack.enter_context(ready_service(settings | _SETTINGS[module], [module]))
        started[module] = service.process, service.url
    return started


def exit_code(figures: Figures) -> int:
    """1 where a promise was not kept, or not measured."""
    return int(any(gate.verdict != "pass" for gate in verdicts(figures)))


if __name__ == "__main__":
    sys.exit(main())
