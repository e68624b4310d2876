"""What ten thousand idle connections and two hundred open streams cost the service.

    python -m loadtests.reliability.connections [--idle 10000] [--streams 200] [--tokens 400] [--write]

A service with the embedded model takes the streams alone, then beside the idle connections. Each of those has been
served once, and asks again every 20 s, since the service closes what is idle for 30 s. All streams run at once: the
service is started with room for them in its batch and its cache (by default 64 run and the others wait), and with a
limit of open files that takes all connections. /livez is probed all the while from a process of its own. Memory is
proportional set size, of which shared pages count once: its greatest value during the load, over that before it. A
first batch of the same streams warms the service, since the pages of its cache come as they are first used. Ends by
itself within five minutes, with code 1 where a promise was not kept.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil  # type: ignore[import-untyped]

from app.bench.client import Timeline, stream
from app.bench.http_stream import RequestFailed
from app.bench.markdown import number, table
from app.settings import EMBEDDED_MODEL
from loadtests import dated_page
from loadtests.gates import Gate
from loadtests.machine import machine
from loadtests.processes import Running
from loadtests.prompts import letters
from loadtests.ready_service import ready_service
from loadtests.reliability.idle_connections import IdleConnections, allow_files
from loadtests.reliability.prober import Prober, probing
from loadtests.report import gates_table

_MIB = float(1 << 20)
_WATCH_SECONDS = 1.0
_QUIET_SECONDS = 2.0


@dataclass
class Load:
    """What was seen during one load; seconds, and MiB of the API process and of the engine.

    Attributes:
        idle: idle connections that were alive at its end.
        failed: streams that broke off or ended short.
    """

    idle: int = 0
    whole: int = 0
    failed: list[str] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Figures:
    """Both loads, and the service before them."""

    idle: int
    """How many were to be kept."""
    before: tuple[float, float] = (0.0, 0.0)
    alone: Load = field(default_factory=Load)
    beside: Load = field(default_factory=Load)

    @property
    def growth(self) -> float:
        """MiB of both processes, at most."""
        return max(map(sum, self.beside.memory)) - sum(self.before)


def memory(service: Running) -> tuple[float, float]:
    """MiB of the API process and of all that it started."""
    api = psutil.Process(service.process.pid)
    engine = 0.0
    for child in api.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            engine += child.memory_full_info().pss / _MIB
    return api.memory_full_info().pss / _MIB, engine


async def speak(base: str, model: str, streams: int, tokens: int, load: Load) -> None:
    """So many streams at once, of so many tokens each."""
    chooser = random.Random(0)

    async def one(prompt: str) -> Timeline:
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "seed": 0}
        return await stream(f"{base}/v1/completions", body)

    prompts = [letters(64, chooser) for _ in range(streams)]
    for answer in await asyncio.gather(*map(one, prompts), return_exceptions=True):
        if isinstance(answer, RequestFailed | OSError):
            load.failed.append(str(answer) or type(answer).__name__)
        elif isinstance(answer, BaseException):
            raise answer
        elif answer.tokens != tokens:
            load.failed.append(f"{answer.tokens} of {tokens} tokens")
        else:
            load.whole += 1
            load.gaps += answer.gaps


async def _watch(service: Running, load: Load) -> None:
    while True:
        load.memory.append(await asyncio.to_thread(memory, service))
        await asyncio.sleep(_WATCH_SECONDS)


async def measure(
    service: Running, port: int, prober: Prober, idle: int, streams: int, tokens: int
) -> Figures:
    """Streams alone, then beside idle connections."""
    base, model = f"http://127.0.0.1:{port}", Path(EMBEDDED_MODEL).name
    figures = Figures(idle)
    await speak(base, model, streams, tokens, Load())
    await asyncio.sleep(_QUIET_SECONDS)
    figures.before = memory(service)
    connections = IdleConnections(port)
    try:
        for load, more in ((figures.alone, 0), (figures.beside, idle)):
            watcher = asyncio.create_task(_watch(service, load))
            await connections.open(more)
            keeper = asyncio.create_task(connections.keep())
            prober.take()
            await speak(base, model, streams, tokens, load)
            load.probes = prober.take()
            load.idle = connections.alive
            load.memory.append(memory(service))
            for task in (watcher, keeper):
                task.cancel()
            await asyncio.wait([watcher, keeper])
    finally:
        connections.close()
    return figures


def share(values: Sequence[float], part: float) -> float:
    """The value that this part of all does not exceed; NaN of nothing."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


def verdicts(figures: Figures) -> list[Gate]:
    """What was promised."""
    load = figures.beside
    return [
        Gate("memory more, API process and engine, MiB", figures.growth, 150.0, False),
        Gate("/livez p99 meanwhile, ms", 1000 * share(load.probes, 0.99), 50.0, False),
        Gate("streams that were not whole", len(load.failed) + len(figures.alone.failed), 0, False),
        Gate("idle connections alive at the end", load.idle, figures.idle, True),
    ]


def report(figures: Figures, command: str, seconds: float) -> str:
    """The dated page."""
    rows = []
    for name, load in (("streams alone", figures.alone), ("streams beside idle connections", figures.beside)):
        api, engine = (max(one) for one in zip(*load.memory, strict=True))
        milliseconds = [
            1000 * share(values, part) for values in (load.probes, load.gaps) for part in (0.5, 0.99, 1)
        ]
        memories = [api - figures.before[0], engine - figures.before[1]]
        rows.append([name, str(load.idle), str(load.whole), *map(number, [*milliseconds, *memories])])
    head = [
        "",
        "idle",
        "whole streams",
        "/livez p50 ms",
        "p99",
        "longest",
        "inter-token p50 ms",
        "p99",
        "longest",
    ]
    api, engine = figures.before
    return "\n".join(
        [
            f"# Idle connections and open streams, {date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in machine().items()],
            f"- memory before: API process {api:.0f} MiB, engine {engine:.0f} MiB; it took {seconds:.0f} s",
            f"\nReproduce: `{command}`\n",
            table([*head, "API process, MiB more", "engine, MiB more"], rows),
            "",
            gates_table(verdicts(figures)),
            *[f"\nFailed: {reason}" for reason in sorted({*figures.alone.failed, *figures.beside.failed})],
        ]
    )


def main() -> int:
    """Measure, print the page; returns the exit code (1: a gate that is not passed)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--idle", type=int, default=10_000, help="connections")
    parser.add_argument("--streams", type=int, default=200, help="at once")
    parser.add_argument("--tokens", type=int, default=400, help="of each stream")
    dated_page.add_option(parser, "connections")
    options = parser.parse_args()
    command = (
        f"python -m loadtests.reliability.connections --idle {options.idle} --streams {options.streams} "
        f"--tokens {options.tokens}"
    )
    allow_files(options.idle + options.streams)
    settings = {
        "DEVICE": "cpu",
        "MAX_RUNNING": str(max(64, options.streams)),
        "KV_CACHE_TOKENS": str((options.tokens + 128) * max(64, options.streams)),
        "LOG_LEVEL": "warning",
    }
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        settings["SLO_FILE"] = str(_patient_objectives(Path(folder)))
        with ready_service(settings) as service, probing(service.port) as prober:
            figures = asyncio.run(
                measure(service.process, service.port, prober, options.idle, options.streams, options.tokens)
            )
    page = report(figures, command, time.monotonic() - began)
    dated_page.publish("connections", page, write=options.write)
    return int(any(gate.verdict != "pass" for gate in verdicts(figures)))


def _patient_objectives(folder: Path) -> Path:
    """A table by which so many streams at once are not too late: what they take is asked here, and not how soon."""
    path = folder / "slos.toml"
    path.write_text(
        '[[slo]]\nname = "ttft"\ntasks = ["completion"]\nobjective = 0.99\nthreshold_seconds = 20.0\n',
        encoding="utf-8",
    )
    return path


if __name__ == "__main__":
    sys.exit(main())
