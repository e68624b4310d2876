"""`make capacity`: the highest rate of arrivals at which the service still meets its objectives.

python -m loadtests.capacity [--url URL] [--from 4] [--seconds 10] [--budget 300] [--out DIR]

The mix of front_end.py arrives as a Poisson process. Rates double until one fails, then the gap is halved, and the best
rate is held for longer. The client is the asyncio one: locust's takes several times as much of the processor that the
service needs here, too, and would void rates that the service still serves.
"""

import argparse
import asyncio
import itertools
import os
import random
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from app.bench import plots
from app.bench.ask import Server
from app.bench.figures import figures
from app.bench.http_stream import Connections, RequestFailed
from app.bench.loops import TooManyInFlight, open_loop, poisson
from app.bench.options import positive
from app.bench.plots import RatePoint
from app.bench.sample import Sample
from app.bench.voided import MOST_LAG_SECONDS, void_reason
from app.slos import Slo, load_slos
from loadtests import target
from loadtests.front_end import FrontEnd
from loadtests.load_report import BENCHMARKS, rates_table, write
from loadtests.processes import ProcessFailed

EXIT_NO_CAPACITY = 1
EXIT_REFUSED = 2
EXIT_VOID = 4
_CLOSE_ENOUGH = 1.08
"""Rates that differ by less are not told apart in the time of one step."""
_FEWEST = 30
"""Requests of a step; few rates are too slow for them, and those take longer."""


@dataclass
class Step:
    """One rate that was tried.

    Attributes:
        void: why it says nothing; a rate that the server cannot follow at all is not void but missed.
    """

    rate: float
    point: RatePoint
    samples: list[Sample]
    void: str | None = None
    overrun: str | None = None

    @property
    def holds(self) -> bool:
        """Whether the objectives were met, by a client that was in time."""
        return self.void is None and self.overrun is None and self.point.figures.attained

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.void:
            return "void: client late"
        if self.overrun:
            return "MISSED: too many in flight"
        return "met" if self.holds else "MISSED"


@dataclass
class Search:
    """Sweep, then bisection, within a budget of time."""

    server: Server
    front_end: FrontEnd
    slos: Sequence[Slo]
    seconds: float
    most_lag: float
    steps: list[Step] = field(default_factory=list)

    async def find(self, first: float, until: float) -> float | None:
        """The highest rate that held, or None where not even the first did.

        Args:
            until: `time.monotonic` after which no step is begun.
        """
        good, bad, rate = 0.0, 0.0, first
        while time.monotonic() + self.seconds < until and (not bad or bad / max(good, 1e-9) > _CLOSE_ENOUGH):
            if await self._holds(rate):
                good = rate
            else:
                bad = rate
            if not good and bad < first / 8:
                return None
            rate = (good * bad) ** 0.5 if good and bad else rate * 2 if good else rate / 2
        return good or None

    async def _holds(self, rate: float) -> bool:
        step = await self.step(rate)
        self.steps.append(step)
        print(f"  {rate:8.2f} requests/s: {step.verdict}", file=sys.stderr, flush=True)
        return step.holds

    async def step(self, rate: float) -> Step:
        """Send at one rate, and judge."""
        seconds = max(self.seconds, _FEWEST / rate)
        due = itertools.takewhile(lambda at: at < seconds, poisson(rate, self.front_end.chooser))
        samples: list[Sample] = []
        overrun = None
        try:
            await open_loop(self.server, self.front_end.next_ask, ((at, rate) for at in due), samples)
        except TooManyInFlight as error:
            overrun = str(error)
        void = void_reason(samples, self.most_lag)
        found = figures(samples, self.slos, seconds)
        return Step(rate, RatePoint(rate, found, bool(void)), samples, void, overrun)


def main(arguments: Sequence[str]) -> int:
    """Search, print and write; returns the exit code (1: no rate held, 2: refused, 4: the client voids the knee)."""
    options = _parser().parse_args(arguments)
    try:
        with (
            target.target(options.url, options.not_loopback) as base,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            knee, search = runner.run(_search(options, base))
    except (target.Refused, ProcessFailed, RequestFailed, OSError) as error:
        print(f"loadtests.capacity: {error}", file=sys.stderr)
        return EXIT_REFUSED
    lines = _conclusion(knee, search.steps)
    points = [step.point for step in search.steps]
    verdicts = {step.rate: step.verdict for step in search.steps}
    text = "\n\n".join([*lines, rates_table(points, verdicts)])
    print(text)
    title = "Capacity: the highest rate that meets the objectives"
    pictures = {"sweep": plots.sweep_picture(title, points, search.slos, knee)}
    command = shlex.join(["python", "-m", "loadtests.capacity", *arguments])
    print("wrote", *write(options.out, "capacity", title, command, text, pictures), file=sys.stderr)
    if knee is None:
        return EXIT_NO_CAPACITY
    return EXIT_VOID if _void_above(knee, search.steps) else 0


async def _search(options: argparse.Namespace, base: str) -> tuple[float | None, Search]:
    connections = Connections(os.environ.get("OPENAI_API_KEY", ""))
    server = Server(base, connections)
    model = options.model or (await server.models())[0]
    search = Search(
        server, FrontEnd(model, random.Random(options.seed)), load_slos(), options.seconds, options.most_lag
    )
    await search.step(options.first)  # warms the service up, and is forgotten
    until = time.monotonic() + options.budget
    # A third of the budget is for holding the best rate, and the next lower ones if it does not hold.
    knee = await search.find(options.first, until - options.budget / 3)
    search.seconds = min(3 * options.seconds, options.budget / 6)
    while knee is not None and time.monotonic() + search.seconds < until:
        held = await search.step(knee)
        print(f"  {knee:8.2f} requests/s, held: {held.verdict}", file=sys.stderr, flush=True)
        search.steps = [step for step in search.steps if step.rate != knee] + [held]
        if held.holds:
            break
        knee = max((step.rate for step in search.steps if step.holds), default=None)
    connections.close()
    return knee, search


def _void_above(knee: float, steps: Sequence[Step]) -> str | None:
    """Why the client kept the next higher rate from being judged, if it did."""
    above = [step for step in steps if step.rate > knee]
    return min(above, key=lambda step: step.rate).void if above else None


def _conclusion(knee: float | None, steps: Sequence[Step]) -> list[str]:
    if knee is None:
        return ["**No rate met the objectives.**"]
    held = max((step for step in steps if step.rate == knee), key=lambda step: step.point.figures.seconds)
    line = (
        f"**C = {knee:.3g} requests a second**: met every objective for {held.point.figures.seconds:.0f} s with "
        f"{held.point.figures.requests} requests."
    )
    if void := _void_above(knee, steps):
        line += f" The service may hold more: at the next rate the run is {void}."
    elif not any(step.rate > knee for step in steps):
        line += " The time was over before a rate failed, so the service may hold more."
    return [line]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.capacity", description=__doc__.partition("\n")[0]
    )
    target.add_options(parser)
    parser.add_argument("--model", help="default: the first that the server names")
    parser.add_argument(
        "--from", dest="first", type=positive(float, 1e5), default=4.0, help="first rate; default: 4"
    )
    parser.add_argument("--seconds", type=positive(float, 600), default=10.0, help="of a step; default: 10")
    parser.add_argument(
        "--budget", type=positive(float, 3600), default=300.0, help="seconds in all; default: 300"
    )
    parser.add_argument("--most-lag", type=positive(float, 60), default=MOST_LAG_SECONDS,
                        help="p99 of the client's lag that voids a rate, seconds; default: %(default)s")  # fmt: skip
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--out", type=Path, default=BENCHMARKS, help="directory of the page; default: docs/benchmarks"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
