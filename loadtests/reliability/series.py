"""Whether strangers can multiply the series of `/metrics`: random methods, paths and models, and a count between them.

    python -m loadtests.reliability.series [--requests 100000] [--seed 1] [--write]

A real service gets requests over raw connections, so that no client corrects them: method and path may be anything, the
path may be a real one with something added, and the body names a model of its own. A hundredth of them, at least 300,
first shows the service every kind of answer that there is; from then on the number of series must not change. Ends by
itself within a few minutes, with code 1 where it does.
"""

import argparse
import asyncio
import json
import random
import string
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from urllib.request import urlopen

from app.bench.markdown import table
from loadtests import dated_page
from loadtests.gates import Gate
from loadtests.machine import machine
from loadtests.ready_service import ready_service
from loadtests.report import gates_table

MOST_SERIES = 1000
_CONNECTIONS = 16
_ANSWER_SECONDS = 30.0
_METHODS = (
    *("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT"),
    *("PROPFIND", "REPORT", "SEARCH", "PURGE", "LINK", "MKCOL", "LOCK", "SOURCE", "QUERY"),
)
_PATHS = (
    *(
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/classify",
        "/v1/decisions",
        "/v1/systemone",
        "/tokenize",
    ),
    *("/v1/models", "/v1/models/", "/metrics", "/livez", "/readyz", "/health", "/docs", "/docs/", "/version"),
)


@dataclass
class Run:
    """One run.

    Attributes:
        series: after how many requests there were how many.
        answers: by status; 0 is a connection that was cut.
    """

    series: list[tuple[int, int]] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0


def request(chooser: random.Random) -> tuple[str, bytes]:
    """Method and bytes of one request."""
    word = "".join(chooser.choices(string.ascii_letters + string.digits, k=chooser.randint(1, 12)))
    method = chooser.choice(_METHODS) if chooser.random() < 0.8 else word
    path = chooser.choice([f"/{word}", f"/v1/{word}/{word}", *_PATHS])
    path += chooser.choice(["", "", f"?{word}={word}", f"/{word}", ";" + word, "%2f" + word])
    body = {"model": word, "messages": [], "input": word, "labels": [word, "other"], "prompt": word}
    content = json.dumps(body).encode() if method in ("POST", "PUT", "PATCH") else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: {word}\r\nX-Request-Id: {word}\r\nContent-Type: application/json\r\n"
    return method, f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


class Connection:
    """One connection at a time, another where the service has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, message: bytes) -> int:
        """The status of the answer; 0 where the connection ended without one."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._exchange(method, message)
        except (OSError, asyncio.IncompleteReadError):
            await self.close()
            return 0

    async def close(self) -> None:
        """End the connection, if there is one."""
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None

    async def _exchange(self, method: str, message: bytes) -> int:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(message)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = next(
            (int(line.split(b":")[1]) for line in head.splitlines() if b"content-length:" in line), 0
        )
        if method != "HEAD":
            await self._reader.readexactly(length)
        if b"connection: close" in head or method == "CONNECT":
            await self.close()
        return int(head.split()[1])


async def ask_all(port: int, count: int, seed: int) -> Counter[int]:
    """Send so many random requests over a few connections at once."""
    answers = Counter[int]()

    async def ask(number: int) -> None:
        chooser, connection = random.Random(f"{seed} {number}"), Connection(port)
        for _ in range(number, count, _CONNECTIONS):
            answers[await connection.ask(*request(chooser))] += 1
        await connection.close()

    await asyncio.gather(*map(ask, range(_CONNECTIONS)))
    return answers


def series(port: int) -> int:
    """How many there are now."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return sum(not line.startswith(b"#") for line in answer.read().splitlines())


def drive(requests: int, seed: int) -> Run:
    """Start a service, ask, count in between, and end it.

    Raises:
        ProcessFailed: the service did not start.
    """
    run, done = Run(), 0
    with ready_service({"THREADS": "1", "LOG_LEVEL": "error"}) as service:
        port = service.port
        run.series.append((0, series(port)))
        started = time.monotonic()
        for part, share in enumerate((0.01, 0.1, 0.5, 1.0)):
            upto = max(min(300, requests // 2), round(requests * share))
            run.answers += asyncio.run(ask_all(port, upto - done, seed + part))
            done = upto
            run.series.append((done, series(port)))
        run.seconds = time.monotonic() - started
    return run


def gates_of(run: Run) -> list[Gate]:
    """Constant from the first hundredth on, few, and answered."""
    counts = [count for _, count in run.series[1:]]
    served = sum(count for status, count in run.answers.items() if 200 <= status < 500)
    return [
        Gate("series more after all than after the first of them", counts[-1] - counts[0], 0, at_least=False),
        Gate("series", counts[-1], MOST_SERIES, at_least=False),
        Gate("answers of the server's own fault", run.answers[500], 0, at_least=False),
        Gate("share that got an answer", served / run.answers.total(), 0.99, at_least=True),
    ]


def report(run: Run, command: str) -> str:
    """The dated page."""
    return "\n".join(
        [
            f"# Series under random requests, {date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in machine().items()],
            f"- {run.answers.total():,} requests in {run.seconds:.0f} s over {_CONNECTIONS} connections",
            f"\nReproduce: `{command}`\n",
            gates_table(gates_of(run)),
            "",
            table(["requests", "series"], [[f"{done:,}", str(count)] for done, count in run.series]),
            "",
            table(
                ["status", "answers"],
                [
                    [str(status or "connection ended"), f"{count:,}"]
                    for status, count in sorted(run.answers.items())
                ],
            ),
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Drive a service, print the page; returns the exit code (1: a gate that is not passed)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    dated_page.add_option(parser, "series")
    chosen = parser.parse_args(arguments)
    run = drive(chosen.requests, chosen.seed)
    page = report(
        run, f"python -m loadtests.reliability.series --requests {chosen.requests} --seed {chosen.seed}"
    )
    dated_page.publish("series", page, write=chosen.write)
    return int(any(gate.verdict != "pass" for gate in gates_of(run)))


if __name__ == "__main__":
    sys.exit(main())
