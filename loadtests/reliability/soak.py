"""`make soak`: a service under a mixed load for half an hour, and whether all that it takes comes back.

python -m loadtests.reliability.soak [--minutes 30] [--rate 8] [--seed S] [--write]

The load pauses before each reading, so that readings are of the same state: nothing open. The first one comes after a
warm-up that fills the KV cache, since the engine's memory grows by as much when it is used for the first time.
"""

import argparse
import asyncio
import random
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import msgspec
import psutil  # type: ignore[import-untyped]
import uvloop

from app.bench.http_stream import Connections, RequestFailed, post
from app.bench.loops import poisson
from app.bench.markdown import aligned, number
from app.bench.options import positive
from loadtests import dated_page
from loadtests.machine import machine
from loadtests.processes import ProcessFailed
from loadtests.reliability.chaos.asking import ask
from loadtests.reliability.chaos.leaving import STAGES, leave
from loadtests.reliability.chaos.questions import Question, bad_questions, chat, good_questions
from loadtests.reliability.chaos.service import CROWD, GOOD, LEAVERS, Subject, subject
from loadtests.reliability.counted_service import TASKS
from loadtests.reliability.trend import Allowed, leak

EXIT_LEAK = 1
EXIT_REFUSED = 2
_MODEL = "repartee-support"
_KINDS = {
    "chat, stream or whole": 30,
    "decision": 10,
    "four answers": 5,
    "long prompt": 5,
    "leaves": 20,
    "nonsense": 10,
    "long answer": 5,
    "tokenize": 10,
    "unknown path": 5,
    "scrape": 5,
}
"""What is asked, with its weight."""
_MEMORY = Allowed(4.0, 0.02)
_COUNT = Allowed(0.5)
_ALLOWED: Mapping[str, Allowed] = {
    "API RSS MiB": _MEMORY,
    "API PSS MiB": _MEMORY,
    "engine RSS MiB": _MEMORY,
    "engine PSS MiB": _MEMORY,
    "API descriptors": _COUNT,
    "engine descriptors": _COUNT,
    "API threads": Allowed(4.0),  # a pool of workers, which come as they are needed
    "engine threads": _COUNT,
    "API tasks": _COUNT,
    "metric series": _COUNT,
    "sequences": _COUNT,
    "KV cache share": Allowed(0.001),
}
"""What is read, and by how much it may move."""
_SERVED = ("chat, stream or whole", "decision", "four answers", "long prompt", "long answer", "tokenize")
"""Of these, what a good client asks in order to be served."""
MOST_REFUSED = 0.01
"""Share of them: a service that refuses its load soaks in nothing."""
_BROKEN = ("failed", "lost", "unreached")
_COLUMNS = {
    "completed": ("completed",),
    "refused": ("refused",),
    "left": ("cancelled",),
    "failed or lost": _BROKEN,
}
_WARM_UP_SECONDS = 30.0
_LONG_PROMPT = "My coat came without its buttons and nobody answered me. " * 120
_LONG_PROMPTS = 60
"""Enough to fill the cache."""
_IDLE_SECONDS = 10.0
_SETTLE_SECONDS = 1.5
_ANSWER_SECONDS = 60.0


@dataclass
class Soak:
    """What was read and sent.

    Attributes:
        readings: by quantity, the first after the warm-up, the last at the end.
        fates: how requests ended, by kind.
    """

    readings: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in _ALLOWED})
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def leaks(self) -> dict[str, str]:
        """What is wrong, by quantity."""
        found = {name: leak(values, _ALLOWED[name]) for name, values in self.readings.items()}
        return {name: what for name, what in found.items() if what is not None}

    @property
    def lost(self) -> int:
        """Requests that ended without a word, or with a fault of the service's own."""
        return sum(
            count for (_, fate), count in self.fates.items() if fate in ("lost", "failed", "unreached")
        )

    @property
    def refused(self) -> float:
        """Share of what a good client asked that was refused; 0 of nothing."""
        asked = sum(count for (kind, _), count in self.fates.items() if kind in _SERVED)
        return sum(self.fates[kind, "refused"] for kind in _SERVED) / asked if asked else 0.0


class Load:
    """Sends the mix."""

    def __init__(self, service: Subject, chooser: random.Random, soak: Soak) -> None:
        self._service, self._chooser, self._soak = service, chooser, soak
        self._good = good_questions(_MODEL)
        self._bad = bad_questions(_MODEL)
        self._connections: dict[str, Connections] = {}

    async def run(self, rate: float, seconds: float) -> None:
        """Send so many a second (Poisson) for so long, and wait for their ends; no connection is kept."""
        self._connections = {tenant: self._service.connect(tenant) for tenant in self._service.keys}
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for at in poisson(rate, self._chooser):
                if at > seconds:
                    break
                await asyncio.sleep(max(0.0, began + at - time.monotonic()))
                group.create_task(self._send())
        self._close()

    async def warm_up(self, rate: float, seconds: float) -> None:
        """Use every block of the KV cache, and every way through the service."""
        self._connections = {tenant: self._service.connect(tenant) for tenant in self._service.keys}
        for _ in range(_LONG_PROMPTS):
            await self._ask(self._long(), "long prompt")
        self._close()
        await self.run(rate, seconds)
        self._soak.fates.clear()

    def _close(self) -> None:
        for connections in self._connections.values():
            connections.close()

    async def _send(self) -> None:
        (kind,) = self._chooser.choices(list(_KINDS), list(_KINDS.values()))
        match kind:
            case "leaves":
                await self._leave(kind)
            case "tokenize" | "scrape" | "unknown path":
                await self._post(kind)
            case "nonsense":
                await self._ask(self._chooser.choice(self._bad), kind, CROWD)
            case _:
                await self._ask(self._question(kind), kind)

    def _question(self, kind: str) -> Question:
        seed = {"seed": self._chooser.randrange(1 << 31)}
        match kind:
            case "decision":
                return self._chooser.choice([question for question in self._good if not question.most_tokens])
            case "four answers":
                return chat(_MODEL, kind, "Where is it?", 64, seed | {"n": 4}, stream=True)
            case "long prompt":
                return self._long()
            case "long answer":
                return chat(_MODEL, kind, "Tell me all.", 1500, {"ignore_eos": True}, stream=True)
        return self._chooser.choice([question for question in self._good if question.most_tokens])

    def _long(self) -> Question:
        """Another one each time, which no prefix cache has."""
        asked = f"{self._chooser.random()} {_LONG_PROMPT}"
        return chat(_MODEL, "long prompt", asked, 16, {"temperature": 0}, stream=True)

    async def _ask(self, question: Question, kind: str, tenant: str = GOOD) -> None:
        exchange = await ask(self._service.base, self._connections[tenant], tenant, question)
        self._soak.fates[kind, exchange.fate] += 1

    async def _leave(self, kind: str) -> None:
        stage, patience = self._chooser.choice(STAGES), self._chooser.uniform(0, 0.05)
        await leave(self._service.port, self._service.keys[LEAVERS], _MODEL, stage, patience)
        self._soak.fates[kind, "cancelled"] += 1

    async def _post(self, kind: str) -> None:
        root = self._service.base.removesuffix("/v1")
        connections, drawn = self._connections[GOOD], str(self._chooser.random())
        fate = "completed"
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                match kind:
                    case "scrape":
                        await self._service.metrics()
                    case "tokenize":
                        body = {"model": _MODEL, "prompt": drawn * 40}
                        await post(f"{root}/tokenize", msgspec.json.encode(body), connections)
                    case _:
                        await post(f"{root}/{drawn}", None, connections)
        except RequestFailed as failure:
            fate = "refused" if 400 <= failure.status < 500 else "lost"
        except (OSError, TimeoutError):
            fate = "lost"
        self._soak.fates[kind, fate] += 1


async def soaked(service: Subject, rate: float, seconds: float, every: float, seed: int) -> Soak:
    """Load a service for so long and read at the beginning, after each interval, and at the end."""
    soak = Soak()
    load = Load(service, random.Random(seed), soak)
    await load.warm_up(rate, min(_WARM_UP_SECONDS, seconds))
    await _read(service, soak)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        await load.run(rate, min(every, left))
        await _read(service, soak)
        shown = ", ".join(f"{name} {number(values[-1])}" for name, values in soak.readings.items())
        print(f"{left:6.0f} s left: {shown}", file=sys.stderr, flush=True)
    return soak


async def _read(service: Subject, soak: Soak) -> None:
    """One reading, when nothing is open."""
    await service.wait_idle(_IDLE_SECONDS)
    await asyncio.sleep(_SETTLE_SECONDS)  # for connections to be seen closed
    metrics = await service.metrics()
    values = {name: value for (name, _), value in metrics.items()}
    engine = service.engine
    assert engine is not None
    for name, process in (("API", service.api), ("engine", engine)):
        memory = process.memory_full_info()
        soak.readings[f"{name} RSS MiB"].append(memory.rss / 2**20)
        soak.readings[f"{name} PSS MiB"].append(memory.pss / 2**20)
        soak.readings[f"{name} descriptors"].append(process.num_fds())
        soak.readings[f"{name} threads"].append(process.num_threads())
    soak.readings["API tasks"].append(values[TASKS])
    soak.readings["metric series"].append(len(metrics))
    sequences = values["repartee_running_requests"] + values["repartee_queue_requests"]
    soak.readings["sequences"].append(sequences)
    soak.readings["KV cache share"].append(values["repartee_kv_cache_usage_ratio"])


def render(soak: Soak, facts: Mapping[str, str], command: str) -> str:
    """The dated page."""
    leaks = soak.leaks
    rows = []
    for name, values in soak.readings.items():
        middle = sorted(values)[len(values) // 2]
        figures = [number(value) for value in (values[0], middle, max(values), values[-1])]
        rows.append([name, *figures, number(_ALLOWED[name].over(values[0])), leaks.get(name, "comes back")])
    kinds = [
        [kind, *(number(sum(soak.fates[kind, fate] for fate in fates)) for fates in _COLUMNS.values())]
        for kind in _KINDS
    ]
    verdict = "leaks: " + ", ".join(leaks) if leaks else "all that it took came back"
    if soak.refused > MOST_REFUSED:
        verdict += ", but good clients were refused too often"
    return "\n".join(
        [
            f"# Soak, {date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in facts.items()],
            f"\nReproduce: `{command}`\n",
            f"**{verdict[0].upper()}{verdict[1:]}.** Readings: {len(soak.readings['API tasks'])}, the first after a "
            "warm-up that fills the KV cache, each with nothing open. A quantity leaks where it rises steadily (Sen's "
            "slope times the readings above what is allowed, Kendall's tau at least a half), or its last readings are "
            "above its first ones by three times what is allowed.\n",
            aligned(["quantity", "first", "median", "most", "last", "allowed", "verdict"], rows),
            "",
            aligned(["asked", *_COLUMNS], kinds),
            f"\nOf what good clients asked, {100 * soak.refused:.2f} % was refused; the bar is {100 * MOST_REFUSED:g} "
            "%. Nonsense and unknown paths are to be refused.",
        ]
    )


def main(arguments: Sequence[str]) -> int:
    """Soak, print, write; returns the exit code (1: a leak, or requests failed or refused, 2: nothing measured)."""
    options = _parser().parse_args(arguments)
    facts = machine()
    seconds = 60 * options.minutes
    try:
        with (
            subject(module="loadtests.reliability.counted_service") as service,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            soak = runner.run(soaked(service, options.rate, seconds, options.every, options.seed))
    except (ProcessFailed, RequestFailed, OSError, psutil.Error) as error:
        print(f"loadtests.reliability.soak: {error}", file=sys.stderr)
        return EXIT_REFUSED
    named = [f"--minutes={options.minutes:g}", f"--rate={options.rate:g}", f"--seed={options.seed}"]
    page = render(soak, facts, shlex.join(["python", "-m", "loadtests.reliability.soak", *named]))
    dated_page.publish("soak", page, write=options.write)
    return EXIT_LEAK if soak.leaks or soak.lost or soak.refused > MOST_REFUSED else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.reliability.soak", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--minutes", type=positive(float, 1440), default=30.0, help="default: %(default)g")
    add("--rate", type=positive(float, 1000), default=8.0, help="requests a second; default: %(default)g")
    add(
        "--every",
        type=positive(float, 3600),
        default=60.0,
        help="seconds between readings; default: %(default)g",
    )
    add("--seed", type=int, default=random.randrange(10**6), help="of the load; default: another each time")
    dated_page.add_option(parser, "soak")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
