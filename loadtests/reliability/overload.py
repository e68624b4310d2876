"""Ten times the capacity for a minute: what is let in is served in time, the rest is refused quickly.

python -m loadtests.reliability.overload --capacity C [--seconds 60] [--apart] [--write]

The mix of front_end.py arrives as a Poisson process: at 0.8 C, at 10 C, and after two seconds at 0.8 C again. C is what
`make capacity` finds on the same machine, and with `--apart` what it finds with that.
"""

import argparse
import asyncio
import itertools
import random
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop

from app.bench.ask import Server
from app.bench.figures import Figures, figures, percentile
from app.bench.loops import TooManyInFlight, open_loop, poisson
from app.bench.markdown import aligned, number
from app.bench.options import positive
from app.bench.sample import Sample
from app.bench.voided import void_reason
from app.slos import load_slos
from loadtests import dated_page, target
from loadtests.front_end import FrontEnd
from loadtests.processes import ProcessFailed
from loadtests.reliability.refusal import AT_ONCE_SECONDS

EXIT_MISSED = 1
EXIT_REFUSED = 2
EXIT_VOID = 4
HEALTHY, OVER = 0.8, 10.0
LAYOUT = {
    False: "The client ran on the same machine.",
    True: "The service had the first half of the cores, and the client the others.",
}
GOODPUT_SHARE = 0.95
SLOWER = 1.5
REFUSAL_SECONDS = 0.020
RECOVERY_SECONDS = 2.0
MOST_IN_FLIGHT = 8192
ONSET_SECONDS = 1.0
_WARM_UP_SECONDS = 3.0


@dataclass(frozen=True)
class Phase:
    """What came of one rate of arrivals.

    Attributes:
        figures: of what was not refused.
        refusals: seconds that each refusal took.
    """

    name: str
    rate: float
    samples: Sequence[Sample]
    figures: Figures
    refusals: Sequence[float]

    @classmethod
    def of(cls, name: str, rate: float, samples: Sequence[Sample], seconds: float) -> "Phase":
        """Part the refusals from the rest."""
        rest = [sample for sample in samples if not is_refusal(sample)]
        refusals = [sample.total for sample in samples if is_refusal(sample)]
        return cls(name, rate, samples, figures(rest, load_slos(), seconds), refusals)

    def row(self) -> list[str]:
        """Its row of the table."""
        found = self.figures
        slow = (found.ttft, found.chat_total, found.decision_total, found.gap)
        return [
            self.name,
            number(self.rate),
            number(len(self.samples)),
            number(len(self.refusals)),
            number(found.failed),
            number(found.goodput),
            *(number(1e3 * percentile(self.refusals, share)) for share in (0.5, 0.99)),
            number(1e3 * found.ttft[0.5]),
            *(number(1e3 * values[0.99]) for values in slow),
            number(1e3 * found.lag[0.99]),
        ]


HEAD = [
    *("phase", "offered/s", "sent", "refused", "failed", "goodput/s", "refusal p50 ms", "refusal p99 ms"),
    *("TTFT p50 ms", "TTFT p99 ms", "chat p99 ms", "decision p99 ms", "gap p99 ms", "client lag p99 ms"),
]


def is_refusal(sample: Sample) -> bool:
    """Whether the server said at once that it does not take the request; said later, it failed what it had let in."""
    took = sample.total - sample.lag  # from sending on; the total counts from when it was due
    return sample.error.startswith(("Status 503", "Status 429")) and took <= AT_ONCE_SECONDS


def settled(over: Phase, seconds: float) -> Phase:
    """The overload without its beginning, which looks like a burst, and a burst is let in as far as it is in time."""
    samples = [sample for sample in over.samples if sample.due >= ONSET_SECONDS]
    return Phase.of(f"from {ONSET_SECONDS:g} s on", over.rate, samples, seconds - ONSET_SECONDS)


async def run_phase(name: str, server: Server, front_end: FrontEnd, rate: float, seconds: float) -> Phase:
    """Send at a rate for so long, and wait for all answers.

    Raises:
        TooManyInFlight: the server neither answers nor refuses.
    """
    samples: list[Sample] = []
    due = itertools.takewhile(lambda at: at < seconds, poisson(rate, front_end.chooser))
    await open_loop(server, front_end.next_ask, ((at, rate) for at in due), samples, MOST_IN_FLIGHT)
    return Phase.of(name, rate, samples, seconds)


def verdicts(healthy: Phase, over: Phase, after: Phase, capacity: float) -> list[tuple[str, str, str, bool]]:
    """(property, bar, measured, whether it is met) of each property."""
    leavers = healthy.figures.left / max(1, healthy.figures.requests)
    least = GOODPUT_SHARE * capacity * (1 - leavers)  # those who leave are neither good nor bad

    def slower(name: str, before: float, during: float) -> tuple[str, str, str, bool]:
        bar = SLOWER * before
        return (
            f"{name} of what was let in, p99",
            f"{1e3 * bar:.1f} ms",
            f"{1e3 * during:.1f} ms",
            during <= bar,
        )

    refusal = percentile(over.refusals, 0.99)
    whole = after.figures.requests - after.figures.failed
    return [
        ("goodput at 10 C", f"{least:.1f}/s", f"{over.figures.goodput:.1f}/s", over.figures.goodput >= least),
        slower("time to first token", healthy.figures.ttft[0.99], over.figures.ttft[0.99]),
        slower("decisions", healthy.figures.decision_total[0.99], over.figures.decision_total[0.99]),
        slower("whole chats", healthy.figures.chat_total[0.99], over.figures.chat_total[0.99]),
        (
            "refusal, p99",
            f"{1e3 * REFUSAL_SECONDS:.0f} ms",
            f"{1e3 * refusal:.1f} ms",
            refusal <= REFUSAL_SECONDS,
        ),
        ("let in and then failed", "0", str(over.figures.failed), over.figures.failed == 0),
        (
            f"refused or failed from {RECOVERY_SECONDS:g} s after",
            "0",
            str(len(after.samples) - whole),
            whole == len(after.samples) and after.figures.attained,
        ),
    ]  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Run, print and write; returns the exit code (1: a bar was missed, 2: refused, 4: the client voids the run)."""
    options = _parser().parse_args(arguments)
    try:
        with (
            target.target(options.url, options.anywhere, apart=options.apart) as there,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            phases = runner.run(_phases(options, there))
    except (target.Refused, ProcessFailed, TooManyInFlight) as error:
        print(f"loadtests.reliability.overload: {error}", file=sys.stderr)
        return EXIT_REFUSED
    before, over, after = phases
    found = verdicts(before, over, after, options.capacity)
    rows = [[name, bar, measured, "met" if met else "MISSED"] for name, bar, measured, met in found]
    void = void_reason([sample for phase in phases for sample in phase.samples])
    text = "\n\n".join(
        [
            aligned(["property", "bar", "measured", "verdict"], rows),
            aligned(HEAD, [phase.row() for phase in (before, over, settled(over, options.seconds), after)]),
            f"A 503 or 429 later than {AT_ONCE_SECONDS:g} s after sending is no refusal: what was let in failed.",
            f"C = {options.capacity:g} requests a second. {LAYOUT[options.apart]}"
            + (f" The run is {void}." if void else ""),
        ]
    )
    command = shlex.join(["python", "-m", "loadtests.reliability.overload", *arguments])
    page = dated_page.headed("Ten times the capacity", command, text)
    dated_page.publish("overload-apart" if options.apart else "overload", page, write=options.write)
    return EXIT_VOID if void else 0 if all(met for *_, met in found) else EXIT_MISSED


async def _phases(options: argparse.Namespace, there: target.Target) -> tuple[Phase, Phase, Phase]:
    server = there.connect()
    front_end = FrontEnd(there.model, random.Random(options.seed))
    healthy, over = HEALTHY * options.capacity, OVER * options.capacity
    await run_phase("", server, front_end, healthy, _WARM_UP_SECONDS)  # and is forgotten
    before = await run_phase("0.8 C", server, front_end, healthy, options.seconds)
    during = await run_phase("10 C", server, front_end, over, options.seconds)
    await asyncio.sleep(RECOVERY_SECONDS)
    after = await run_phase("0.8 C, after", server, front_end, healthy, options.seconds / 4)
    server.connections.close()
    return before, during, after


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.reliability.overload", description=(__doc__ or "").partition("\n")[0]
    )
    target.add_options(parser)
    target.add_apart_option(parser)
    add = parser.add_argument
    add("--capacity", type=positive(float, 1e5), required=True, help="C, requests a second")
    add("--seconds", type=positive(float, 600), default=60.0, help="of the overload; default: 60")
    add("--seed", type=int, help="of arrivals and questions")
    dated_page.add_option(parser, "overload")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
