"""How long any request of a legal size keeps the event loop of the service from all others.

    python -m loadtests.reliability.loop_stall [--rounds 3] [--only TEXT] [--rows 40] [--policy FILE] [--write]

A service with the embedded model gets a catalogue of the worst inputs for every route that takes a body, each alone
and four at once, while another process probes /livez without a pause; the longest probe is the stall, and
`prober.py` says what such a probe can see. Every input is sent in every round, since a machine has bad
moments of its own: those show in the probes in peace, and in the column of the worst round. Ends by itself within ten
minutes, with code 1 where the loop was held for longer than 50 ms, and where an input was never let in.
"""

import argparse
import http.client
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from app.bench.markdown import number, table
from app.settings import EMBEDDED_MODEL
from loadtests import dated_page
from loadtests.gates import Gate
from loadtests.machine import machine
from loadtests.ready_service import ready_service
from loadtests.reliability.prober import Prober, probing
from loadtests.reliability.worst_inputs import Input, catalogue
from loadtests.report import gates_table

BOUND_SECONDS = 0.050
AT_ONCE = 4
_ANSWER_SECONDS = 60.0
_DEADLINE_MS = "5000"
"""Of each request: what the engine computes is not what is measured."""
_PEACE = 200


@dataclass
class Stalls:
    """The longest probe in seconds of each round beside one input, alone and four at once; the answers' statuses."""

    input: Input
    alone: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)

    @property
    def usual(self) -> float:
        """The longer of both medians."""
        return max(statistics.median(self.alone), statistics.median(self.together))

    @property
    def greatest(self) -> float:
        """Of all rounds."""
        return max(*self.alone, *self.together)

    @property
    def tried(self) -> bool:
        """Whether the service took it once at least: a 503 comes before an input is looked at."""
        return bool(self.statuses - {503})


@dataclass
class Figures:
    """What was found."""

    stalls: list[Stalls]
    peace: list[float] = field(default_factory=list)
    """Seconds of probes beside nothing."""


def send(port: int, asked: Input) -> int:
    """The status of the answer, which is read to its end."""
    service = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        headers = {"content-type": "application/json", "x-request-timeout-ms": _DEADLINE_MS}
        service.request("POST", asked.path, asked.body, headers)
        answer = service.getresponse()
        answer.read()
        return answer.status
    finally:
        service.close()


def measure(port: int, prober: Prober, inputs: Sequence[Input], rounds: int) -> Figures:
    """Send all inputs in each round."""
    figures = Figures([Stalls(one) for one in inputs])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(rounds):
            prober.take()
            while len(figures.peace) % _PEACE or not figures.peace:
                figures.peace += prober.take()[: _PEACE - len(figures.peace) % _PEACE]
            for found in figures.stalls:
                for count, stalls in ((1, found.alone), (AT_ONCE, found.together)):
                    prober.take()
                    found.statuses.update(pool.map(send, [port] * count, [found.input] * count))
                    stalls.append(max(prober.take()))
    return figures


def verdicts(figures: Figures) -> list[Gate]:
    """What was promised, of the usual round of the worst input."""
    return [
        Gate(
            "event-loop stall of the worst input, median of rounds, ms",
            1000 * max(found.usual for found in figures.stalls),
            1000 * BOUND_SECONDS,
            False,
        ),
        Gate(
            "answers of status 500 or above, 504 apart",
            len(
                [
                    one
                    for found in figures.stalls
                    for one in found.statuses
                    if one >= 500 and one not in (503, 504)
                ]
            ),
            0,
            False,
        ),
        Gate("inputs that got nothing but 503", len(_untried(figures)), 0, False),
    ]


def _untried(figures: Figures) -> list[str]:
    return [f"{one.input.path}, {one.input.name}" for one in figures.stalls if not one.tried]


def report(figures: Figures, command: str, rows: int) -> str:
    """The dated page."""
    worst = sorted(figures.stalls, key=lambda found: -found.usual)
    routes: dict[str, Stalls] = {}
    for found in worst:
        routes.setdefault(found.input.path, found)
    head = ["route", "input", "bytes", "status", "alone", f"{AT_ONCE} at once", "worst round"]
    milliseconds = [number(1000 * one) for one in (statistics.median(figures.peace), max(figures.peace))]
    return "\n".join(
        [
            f"# What holds the event loop, {date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in machine().items()],
            f"- inputs: {len(figures.stalls)}, each alone and {AT_ONCE} at once in rounds: {len(worst[0].alone)}",
            f"- a probe in peace: {milliseconds[0]} ms, the longest of {len(figures.peace)}: {milliseconds[1]} ms",
            f"\nReproduce: `{command}`\n",
            "The longest probe of /livez beside each input, ms: the median of the rounds, and the worst of them.\n",
            gates_table(verdicts(figures)),
            *[f"\n**Not tried, since every answer was a 503: {one}.**" for one in _untried(figures)],
            "\n## The worst of each route\n",
            table(head, [_row(found) for found in routes.values()]),
            f"\n## The {min(rows, len(worst))} worst\n",
            table(head, [_row(found) for found in worst[:rows]]),
        ]
    )


def _row(found: Stalls) -> list[str]:
    asked = found.input
    statuses = ", ".join(map(str, sorted(found.statuses)))
    times = [statistics.median(found.alone), statistics.median(found.together), found.greatest]
    return [asked.path, asked.name, str(len(asked.body)), statuses, *[number(1000 * one) for one in times]]


def main() -> int:
    """Measure, print the page; returns the exit code (1: a gate that is not passed)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="inputs whose route and name have this text")
    parser.add_argument("--rows", type=int, default=40, help="of the table of the worst")
    parser.add_argument("--policy", type=Path, help="a policy file that the service is to follow meanwhile")
    dated_page.add_option(parser, "loop-stall")
    options = parser.parse_args()
    command = f"python -m loadtests.reliability.loop_stall --rounds {options.rounds} --rows {options.rows}"
    if options.policy:
        command = f"{command} --policy {options.policy}"
    inputs = [one for one in catalogue(Path(EMBEDDED_MODEL).name) if options.only in f"{one.path} {one.name}"]
    policy = {"POLICY_FILE": str(options.policy)} if options.policy else {}
    with ready_service({"DEVICE": "cpu"} | policy) as service, probing(service.port) as prober:
        figures = measure(service.port, prober, inputs, options.rounds)
    page = report(figures, command, options.rows)
    dated_page.publish("loop-stall", page, write=options.write)
    return int(any(gate.verdict != "pass" for gate in verdicts(figures)))


if __name__ == "__main__":
    sys.exit(main())
