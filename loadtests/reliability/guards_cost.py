"""What the guards cost: the service as it is and one without them, asked in turns.

    python -m loadtests.reliability.guards_cost [--requests 2000] [--rounds 8] [--write]

Both have the embedded model. The guarded one has ten keys, all with quotas; `unguarded_service.py` says what
the other lacks. A small request is /tokenize of one word, which asks the engine nothing, so that what differs
is the way through the guards; both are sent alternately, over one connection each, and compared in pairs. For the
throughput sixteen greedy streams speak at once. Ends by itself within five minutes, with code 1 where a promise was
not kept.
"""

import argparse
import asyncio
import http.client
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import msgspec

from app.bench.client import stream
from app.bench.http_stream import Connections
from app.bench.markdown import number, table
from app.keys import new_key
from app.settings import EMBEDDED_MODEL
from loadtests import dated_page
from loadtests.gates import Gate
from loadtests.machine import machine
from loadtests.metrics_cost import speed
from loadtests.prompts import letters
from loadtests.ready_service import ready_service
from loadtests.report import gates_table

GUARDED, BARE = "app", "loadtests.reliability.unguarded_service"
STREAMS = 16
_KEYS = 10
_TOKENS = 400
_WARM_UP = 200


@dataclass
class Figures:
    """Samples of both services by pair: seconds of a small request, tokens a second of the streams."""

    guarded_seconds: list[float] = field(default_factory=list)
    bare_seconds: list[float] = field(default_factory=list)
    guarded_speed: list[float] = field(default_factory=list)
    bare_speed: list[float] = field(default_factory=list)

    @property
    def more(self) -> float:
        """Seconds that the guards add to the median of a small request."""
        return statistics.median(self.guarded_seconds) - statistics.median(self.bare_seconds)

    @property
    def lost(self) -> float:
        """Share of the throughput, the median of the pairs."""
        return 1 - statistics.median(
            guarded / bare for guarded, bare in zip(self.guarded_speed, self.bare_speed, strict=True)
        )


class Small:
    """One connection for small requests."""

    def __init__(self, port: int, key: str) -> None:
        self._service = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        self._body = json.dumps({"prompt": "hello"})

    def ask(self) -> float:
        """Seconds of one.

        Raises:
            RuntimeError: it is refused.
        """
        began = time.perf_counter()
        self._service.request("POST", "/tokenize", self._body, self._headers)
        answer = self._service.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}")
        return time.perf_counter() - began


async def speak(port: int, key: str, seed: int) -> float:
    """Tokens a second of sixteen streams."""
    chooser = random.Random(seed)
    body = {"model": Path(EMBEDDED_MODEL).name, "max_tokens": _TOKENS, "temperature": 0, "ignore_eos": True}
    url = f"http://127.0.0.1:{port}/v1/completions"
    with Connections(key) as connections:
        asked = [
            stream(url, body | {"prompt": letters(64, chooser)}, connections=connections)
            for _ in range(STREAMS)
        ]
        return speed(await asyncio.gather(*asked))


def measure(guarded: int, bare: int, key: str, requests: int, rounds: int) -> Figures:
    """Small requests one by one, then streams, each to both services in turns."""
    figures = Figures()
    services = [
        (Small(guarded, key), guarded, figures.guarded_seconds, figures.guarded_speed),
        (Small(bare, key), bare, figures.bare_seconds, figures.bare_speed),
    ]
    for small, port, _, _ in services:
        for _ in range(_WARM_UP):
            small.ask()
        asyncio.run(speak(port, key, 0))
    for turn in range(rounds):
        for _ in range(max(1, requests // rounds)):
            services.reverse()
            for small, _, seconds, _ in services:
                seconds.append(small.ask())
        for _, port, _, speeds in services if turn % 2 else services[::-1]:
            speeds.append(asyncio.run(speak(port, key, turn)))
    return figures


def verdicts(figures: Figures) -> list[Gate]:
    """What was promised."""
    return [
        Gate("guards on a small request, p50, ms more", 1000 * figures.more, 0.3, False),
        Gate("throughput lost to guards, median of pairs, %", 100 * figures.lost, 1.0, False),
    ]


def report(figures: Figures, command: str) -> str:
    """The dated page."""
    rows = [
        [name, *_milliseconds(seconds), *map(number, (statistics.median(speeds), min(speeds), max(speeds)))]
        for name, seconds, speeds in (
            ("with guards", figures.guarded_seconds, figures.guarded_speed),
            ("without", figures.bare_seconds, figures.bare_speed),
        )
    ]
    head = ["", "small request p50 ms", "p99 ms", f"{STREAMS} streams tok/s, median", "least", "greatest"]
    return "\n".join(
        [
            f"# What the guards cost, {date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in machine().items()],
            f"- pairs: {len(figures.bare_seconds)} small requests, {len(figures.bare_speed)} of {STREAMS} streams",
            f"\nReproduce: `{command}`\n",
            table(head, rows),
            "",
            gates_table(verdicts(figures)),
        ]
    )


def _milliseconds(seconds: Sequence[float]) -> list[str]:
    ordered = sorted(seconds)
    return [f"{1000 * one:.3f}" for one in (statistics.median(ordered), ordered[int(0.99 * len(ordered))])]


def _keys_file(directory: str) -> tuple[Path, str]:
    """Ten keys of ten tenants, all with quotas that are never reached, and the one that is used."""
    made = [new_key(f"tenant-{index}") for index in range(_KEYS)]
    entries = [
        msgspec.structs.replace(
            entry, requests_per_second=1e6, tokens_per_minute=1_000_000_000, concurrency=1000
        )
        for _, entry in made
    ]
    path = Path(directory) / "keys.json"
    path.write_bytes(msgspec.json.encode(entries))
    return path, made[-1][0]


def main() -> int:
    """Measure, print the page; returns the exit code (1: a gate that is not passed)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=2000, help="small ones to each service")
    parser.add_argument("--rounds", type=int, default=8, help="of streams to each service")
    dated_page.add_option(parser, "guards")
    options = parser.parse_args()
    command = (
        f"python -m loadtests.reliability.guards_cost --requests {options.requests} --rounds {options.rounds}"
    )
    with ExitStack() as stack:
        keys, key = _keys_file(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = []
        for module, more in ((GUARDED, {"API_KEYS_FILE": str(keys)}), (BARE, {})):
            values = {"DEVICE": "cpu", "LOG_FORMAT": "json"}
            ports.append(stack.enter_context(ready_service(values | more, [module])).port)
        figures = measure(*ports, key, options.requests, options.rounds)
    page = report(figures, command)
    dated_page.publish("guards", page, write=options.write)
    return int(any(gate.verdict != "pass" for gate in verdicts(figures)))


if __name__ == "__main__":
    sys.exit(main())
