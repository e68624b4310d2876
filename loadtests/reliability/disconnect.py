"""How soon a client that leaves gives back what its request held: slot, blocks, queue place.

python -m loadtests.reliability.disconnect [--clients 1000] [--seed S] [--write]

One client after another leaves, in each stage of a request, beside others who stay. The time runs from the close of its
connection until the engine has told the API process that it holds nothing of the request any more.
"""

import argparse
import asyncio
import os
import random
import shlex
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from app.bench.figures import percentile
from app.bench.http_stream import RequestFailed
from app.bench.markdown import aligned, number
from app.bench.options import positive
from loadtests import dated_page
from loadtests.machine import machine
from loadtests.processes import ProcessFailed
from loadtests.reliability.chaos.asking import ask
from loadtests.reliability.chaos.leaving import Stage, leave
from loadtests.reliability.chaos.questions import chat
from loadtests.reliability.chaos.service import GOOD, LEAVERS, Subject, subject
from loadtests.reliability.watched_service import PIPE

EXIT_MISSED = 1
EXIT_REFUSED = 2
BAR_SECONDS = 0.1
BEYOND_STEP_SECONDS = 0.02
_MODEL = "repartee-support"
_RUNNING = 4
"""Sequences that run at once: with more who stay than that, one that comes is queued."""
_STAGES: dict[str, tuple[Stage, int, float]] = {
    "during the body": ("body", 2, 0.0),
    "queued": ("first token", 3 * _RUNNING, 0.02),
    "before the first token": ("first token", 2, 0.004),
    "in mid-stream": ("mid-stream", 2, 0.05),
    "whole call": ("whole call", 2, 0.05),
    "pipelined": ("pipelined", 2, 0.05),
    "decision": ("decision", 2, 0.02),
}
"""By name: the stage, how many others stay, and the most seconds that the client waits in it, drawn at random."""
_LEAK_SECONDS = 10.0


@dataclass
class Left:
    """What is known of one client that left.

    Attributes:
        seconds: until the last of its sequences was given back, or else until its request had ended; None: never.
        step: seconds of the step in which that was.
        sequences: that it had, at any time.
    """

    seconds: float | None = None
    step: float = 0.0
    sequences: int = 0

    @property
    def in_time(self) -> bool:
        """Within the bar, or a step and a little."""
        return self.seconds is not None and self.seconds <= max(BAR_SECONDS, self.step + BEYOND_STEP_SECONDS)


@dataclass
class Watch:
    """What the watched service tells of the requests of those who leave.

    Attributes:
        given_back: sequence ids of the current client, each with the instant and the seconds of the step; None: held.
        request_ended: the instant at which the current client's request had.
    """

    given_back: dict[str, tuple[float, float] | None] = field(default_factory=dict)
    request_ended: float | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _rest: bytes = b""

    def feed(self, piece: bytes) -> None:
        """Take a piece of what it tells."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            at, sign, *words = line.decode().split()
            match sign, words:
                case "+", [number, tenant] if tenant == LEAVERS:
                    self.given_back[number] = None
                case "-", [number, step] if number in self.given_back:
                    self.given_back[number] = (float(at), float(step))
                case ".", [tenant, _] if tenant == LEAVERS:
                    self.request_ended = float(at)
        self.news.set()

    async def wait(self, left: float) -> Left:
        """What became of the current client, who left at this instant."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAK_SECONDS):
                while self.request_ended is None or None in self.given_back.values():
                    self.news.clear()
                    await self.news.wait()
        found = Left(sequences=len(self.given_back))
        ends = [end for end in self.given_back.values() if end is not None]
        if self.request_ended is not None and len(ends) == len(self.given_back):
            at, found.step = max(ends, default=(self.request_ended, 0.0))
            found.seconds = at - left
        self.given_back, self.request_ended = {}, None
        return found


async def measure(service: Subject, pipe: int, clients: int, chooser: random.Random) -> dict[str, list[Left]]:
    """Let so many clients leave; by stage, without those that were answered before they left."""
    watch = Watch()
    asyncio.get_running_loop().add_reader(pipe, lambda: watch.feed(os.read(pipe, 65536)))
    found: dict[str, list[Left]] = {name: [] for name in _STAGES}
    for number_, (name, (stage, staying, most)) in enumerate(_STAGES.items()):
        share = clients // len(_STAGES) + (number_ < clients % len(_STAGES))
        async with _others(service, staying):
            while len(found[name]) < share:
                patience = chooser.uniform(0, most)
                left = await leave(service.port, service.keys[LEAVERS], _MODEL, stage, patience)
                one = await watch.wait(left)
                if one.seconds is None or one.seconds > 0:
                    found[name].append(one)
    return found


@asynccontextmanager
async def _others(service: Subject, count: int) -> AsyncIterator[None]:
    """So many customers who stay, and ask again at once."""
    over = asyncio.Event()
    question = chat(_MODEL, "stays", "Where is my parcel?", 1000, {"temperature": 0}, stream=True, whole=True)

    async def stay() -> None:
        connections = service.connect(GOOD)
        while not over.is_set():
            exchange = await ask(service.base, connections, GOOD, question)
            if exchange.fate != "completed":
                raise RequestFailed(f"One who stayed was {exchange.fate}: {exchange.events[-1]}")
        connections.close()

    crowd = [asyncio.create_task(stay()) for _ in range(count)]
    await asyncio.sleep(0.5)
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*crowd)


def render(found: dict[str, list[Left]], held: dict[str, float], facts: dict[str, str], command: str) -> str:
    """The dated page."""
    everyone = [one for listed in found.values() for one in listed]
    rows = [_row(name, listed) for name, listed in {**found, "all": everyone}.items() if listed]
    leaks = sum(one.seconds is None for one in everyone)
    head = ["left", "clients", "p50 ms", "p99 ms", "worst ms", "its step ms", "in time", "leaks"]
    verdict = "met" if is_met(found, held) else "MISSED"
    return "\n".join(
        [
            f"# What clients that leave give back, {date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in facts.items()],
            f"\nReproduce: `{command}`\n",
            "From the close of a connection until the engine has told that it holds nothing of the request; of one "
            "that was left during its body, until the request had ended. The instants are the service's and the "
            "client's own on one clock, so no polling blurs them. `in time`: within 100 ms, or the step in which it "
            "was given back and 20 ms; `its step` is that of the worst.\n",
            aligned(head, rows),
            f"\nAt most 100 ms at p99, or one step and 20 ms; no leak: **{verdict}**. Leaks among {len(everyone):,} "
            f"clients: {leaks}; held when idle: {held or 'nothing'}.",
        ]
    )


def is_met(found: dict[str, list[Left]], held: dict[str, float]) -> bool:
    """Whether 99 % are in time, and nothing stays behind."""
    everyone = [one for listed in found.values() for one in listed]
    late = sum(not one.in_time for one in everyone)
    return not held and late <= 0.01 * len(everyone) and all(one.seconds is not None for one in everyone)


def _row(name: str, listed: list[Left]) -> list[str]:
    worst = max(listed, key=lambda one: one.seconds or 0.0)
    values = [one.seconds for one in listed if one.seconds is not None]
    ms = [percentile(values, 0.5), percentile(values, 0.99), worst.seconds or float("nan"), worst.step]
    in_time = sum(one.in_time for one in listed) / len(listed)
    leaks = sum(one.seconds is None for one in listed)
    return [name, number(len(listed)), *(number(value * 1e3) for value in ms), f"{in_time:.1%}", str(leaks)]


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write; returns the exit code (1: the figure is missed, 2: nothing was measured)."""
    options = _parser().parse_args(arguments)
    facts = machine()
    try:
        found, held = _measured(options.clients, options.seed)
        command = shlex.join(
            ["python", "-m", "loadtests.reliability.disconnect", f"--clients={options.clients}"]
        )
        page = render(found, held, facts, f"{command} --seed={options.seed}")
        dated_page.publish("disconnect", page, write=options.write)
    except (ProcessFailed, RequestFailed, OSError) as error:
        print(f"loadtests.reliability.disconnect: {error}", file=sys.stderr)
        return EXIT_REFUSED
    return 0 if is_met(found, held) else EXIT_MISSED


def _measured(clients: int, seed: int) -> tuple[dict[str, list[Left]], dict[str, float]]:
    with TemporaryDirectory(prefix="repartee-disconnect-") as directory:
        path = Path(directory) / "pipe"
        os.mkfifo(path)
        pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        variables = {PIPE: str(path), "REPARTEE_MAX_RUNNING": str(_RUNNING)}
        try:
            with (
                subject(module="loadtests.reliability.watched_service", variables=variables) as service,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                found = runner.run(measure(service, pipe, clients, random.Random(seed)))
                return found, runner.run(service.wait_idle(_LEAK_SECONDS))
        finally:
            os.close(pipe)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.reliability.disconnect", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--clients", type=positive(int, 100_000), default=1000, help="that leave; default: %(default)s")
    add(
        "--seed",
        type=int,
        default=random.randrange(10**6),
        help="of when they do; default: another each time",
    )
    dated_page.add_option(parser, "disconnect")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
