"""`make capacity`: the highest rate of arrivals at which the service still meets its objectives.

python -m loadtests.capacity [--url URL] [--minutes 5] [--from 4] [--seconds 10] [--apart] [--write]

The mix of front_end.py arrives as a Poisson process. Rates double until one fails, then the gap is halved, and the best
rate is held for three times as long. The client is that of `app bench`, in this process; with `--apart` it has cores of
its own.
"""

import argparse
import asyncio
import itertools
import random
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvloop

from app.bench import plots
from app.bench.ask import Server
from app.bench.figures import figures
from app.bench.loops import TooManyInFlight, open_loop, poisson
from app.bench.options import positive
from app.bench.plots import RatePoint
from app.bench.sample import Sample
from app.bench.voided import MOST_LAG_SECONDS, void_reason
from app.slos import Slo, load_slos
from loadtests import load_report, target
from loadtests.front_end import FrontEnd
from loadtests.load_report import Tried, rates_table
from loadtests.processes import ProcessFailed

EXIT_NO_CAPACITY = 1
EXIT_REFUSED = 2
EXIT_VOID = 4
_CLOSE_ENOUGH = 1.08
"""Rates that differ by less are not told apart in the time of one step."""
_FEWEST = 100
"""Requests of a step, so that p99 is not just the slowest of them; low rates take longer for it."""
_HOLD, _LEAST_HOLD = 3, 2
"""How many times as long as its step a rate is held: as time is left, but no less than the second."""
_LOWER = 0.8
"""A rate that held for one step and not for longer is far above what holds: a queue has grown slowly."""
_WARM_UP_SECONDS = 3.0


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
    def tried(self) -> Tried:
        """Its row of the report."""
        figures, samples = self.point.figures, self.samples
        done = sum(sample.outcome != "error" and sample.ended <= figures.seconds for sample in samples)
        return Tried(self.point, done / figures.seconds, self.verdict)

    @property
    def holds(self) -> bool:
        """Whether all objectives were measured and met, by a client that was in time."""
        found = self.point.figures
        return self.void is None and self.overrun is None and self._measured and found.attained

    @property
    def _measured(self) -> bool:
        return all(one.of for one in self.point.figures.attainments)

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.void:
            return "void: client late"
        if self.overrun:
            return "MISSED: too many in flight"
        if not self._measured:
            return "not every objective measured"
        return "met" if self.holds else "MISSED"


@dataclass
class Search:
    """Sweep, then bisection, within a budget of time.

    Attributes:
        held: the highest rate that held for longer; 0 where none did yet.
    """

    server: Server
    front_end: FrontEnd
    slos: Sequence[Slo]
    seconds: float
    most_lag: float
    steps: list[Step] = field(default_factory=list)
    held: float = 0.0

    async def find(self, first: float, until: float) -> float | None:
        """The highest rate that held, or None where none did.

        Args:
            until: `time.monotonic` after which no step but the first is begun.
        """
        good, bad, rate = 0.0, 0.0, first
        while not bad or bad / max(good, 1e-9) > _CLOSE_ENOUGH:
            if await self._holds(rate, until):
                good = rate
            else:
                bad = rate
            rate = (good * bad) ** 0.5 if good and bad else rate * 2 if good else rate / 2
            if (not good and bad < first / 8) or time.monotonic() + self._lasts(rate) > until:
                break
        return good or None

    async def hold(self, rate: float | None, until: float) -> float | None:
        """The highest rate that holds for longer, too: the one that was found, or one below it.

        Args:
            until: `time.monotonic` at which the last step is over; the best of the shorter steps must do then.
        """
        bad = 0.0
        while rate:
            seconds = min(_HOLD * self._lasts(rate), until - time.monotonic())
            if seconds < _LEAST_HOLD * self._lasts(rate):
                break
            step = await self._judged(rate, seconds, until)
            print(f"  {rate:8.2f} requests/s, held: {step.verdict}", file=sys.stderr, flush=True)
            self.steps = [other for other in self.steps if other.rate != rate] + [step]
            if step.holds:
                self.held = rate
            else:
                bad = rate
            if self.held and (not bad or bad / self.held <= _CLOSE_ENOUGH):
                break
            rate = (self.held * bad) ** 0.5 if self.held else bad * _LOWER
        short = [step.rate for step in self.steps if step.holds and (not bad or step.rate < bad)]
        return self.held or max(short, default=None)

    async def _holds(self, rate: float, until: float) -> bool:
        step = await self._judged(rate, self._lasts(rate), until)
        self.steps.append(step)
        print(f"  {rate:8.2f} requests/s: {step.verdict}", file=sys.stderr, flush=True)
        return step.holds

    async def _judged(self, rate: float, seconds: float, until: float) -> Step:
        """A step, and once more where it was void: that may have been something else on this machine."""
        step = await self.step(rate, seconds)
        if step.void and time.monotonic() + seconds < until:
            return await self.step(rate, seconds)
        return step

    def _lasts(self, rate: float) -> float:
        return max(self.seconds, _FEWEST / rate)

    async def step(self, rate: float, seconds: float) -> Step:
        """Send at one rate for so long, and judge."""
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
        load_report.prepare(options.out)
        with (
            target.target(options.url, options.anywhere, apart=options.apart) as there,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            knee, search = runner.run(_search(options, there))
    except (target.Refused, ProcessFailed) as error:
        print(f"loadtests.capacity: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("loadtests.capacity: stopped, and nothing was reported", file=sys.stderr)
        return EXIT_NO_CAPACITY
    text = f"{_conclusion(knee, search.steps, search.held)}\n\n{rates_table([step.tried for step in search.steps])}"
    print(text)
    title = "Capacity: the highest rate that meets the objectives"
    points = [step.point for step in search.steps]
    pictures = {"sweep": plots.sweep_picture(title, points, search.slos, knee)}
    command = shlex.join(["python", "-m", "loadtests.capacity", *arguments])
    name = "capacity-apart" if options.apart else "capacity"
    written = load_report.write(options.out, name, title, command, text, pictures)
    print("wrote", *written, file=sys.stderr)
    if _void_above(knee, search.steps):
        return EXIT_VOID
    return EXIT_NO_CAPACITY if knee is None else 0


async def _search(options: argparse.Namespace, there: target.Target) -> tuple[float | None, Search]:
    server = there.connect()
    front_end = FrontEnd(options.model or there.model, random.Random(options.seed))
    search = Search(server, front_end, load_slos(), options.seconds, options.most_lag)
    budget = options.minutes * 60
    until = time.monotonic() + budget
    await search.step(options.first, _WARM_UP_SECONDS)  # and is forgotten
    # A third of the budget is for holding the best rate, and the next lower ones if it does not hold.
    knee = await search.find(options.first, until - budget / 3)
    knee = await search.hold(knee, until)
    server.connections.close()
    return knee, search


def _void_above(knee: float | None, steps: Sequence[Step]) -> str | None:
    """Why the client kept the next higher rate, or every rate, from being judged, if it did."""
    above = [step for step in steps if step.rate > (knee or 0.0)]
    return min(above, key=lambda step: step.rate).void if above else None


def _conclusion(knee: float | None, steps: Sequence[Step], held: float) -> str:
    void = _void_above(knee, steps)
    if knee is None:
        return (
            f"**No rate was measured**: the lowest is {void}." if void else "**No rate met the objectives.**"
        )
    step = next(step for step in steps if step.rate == knee)
    line = (
        f"**C = {knee:.3g} requests a second**: met every objective for {step.point.figures.seconds:.0f} s with "
        f"{step.point.figures.requests} requests."
    )
    if knee != held:
        line += " The time was over before it, or another rate, had held for longer."
    if void:
        missed = min((step.rate for step in steps if step.rate > knee and not step.void), default=None)
        most = f", but less than {missed:.3g}, which missed" if missed else ""
        line += f" The service may hold more{most}: at the next rate the run is {void}."
    elif not any(step.rate > knee for step in steps):
        line += " The time was over before a rate failed, so the service may hold more."
    return line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.capacity", description=__doc__.partition("\n")[0]
    )
    target.add_options(parser)
    target.add_apart_option(parser)
    parser.add_argument("--model", help="default: the first that the server names")
    parser.add_argument(
        "--from", dest="first", type=positive(float, 1e5), default=4.0, help="first rate; default: 4"
    )
    parser.add_argument("--seconds", type=positive(float, 600), default=10.0, help="of a step; default: 10")
    parser.add_argument(
        "--minutes", type=positive(float, 60), default=5.0, help="of the search in all; default: 5"
    )
    parser.add_argument("--most-lag", type=positive(float, 60), default=MOST_LAG_SECONDS,
                        help="p99 of the client's lag that voids a rate, seconds; default: %(default)s")  # fmt: skip
    parser.add_argument("--seed", type=int)
    load_report.add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
