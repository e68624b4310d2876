"""All inputs to one service, with its neighbours beside them."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice

from loadtests.reliability.fuzz import bodies, departures, openapi_cases, raw_http
from loadtests.reliability.fuzz.attempt import Attempt, Expected, Piece, Site, head
from loadtests.reliability.fuzz.ledger import balance
from loadtests.reliability.fuzz.neighbours import PROBE_SECONDS, Watched, greedy_answer, neighbours
from loadtests.reliability.fuzz.openapi_cases import OpenApiCases
from loadtests.reliability.fuzz.verdict import judge
from loadtests.reliability.fuzz.wire import End, Reply, exchange, replies

SHARES = {openapi_cases.SOURCE: 0.15, bodies.SOURCE: 0.5, raw_http.SOURCE: 0.28, departures.SOURCE: 0.07}
_AT_ONCE = {openapi_cases.SOURCE: 6, bodies.SOURCE: 4, raw_http.SOURCE: 16, departures.SOURCE: 8}
"""More of those that mostly wait: of raw bytes, and of clients that leave after a while."""
_BLOCK = 32
_KEPT = 5
"""Failing inputs of each kind whose bytes are kept."""

Check = Callable[[Attempt, Reply], list[str]]


@dataclass(frozen=True, slots=True)
class Failure:
    """An input after which something was wrong."""

    attempt: Attempt
    faults: list[str]
    heard: bytes


@dataclass
class Result:
    """What a campaign saw.

    Attributes:
        failures: the first of each kind; `num_failures` counts all, `kinds` by what was wrong.
        statuses: by source the answers' statuses, and how connections ended that had none.
        faults: of no single input: neighbours, books, processes.
    """

    seed: int
    inputs: Counter[str] = field(default_factory=Counter)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    num_failures: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    good: Watched = field(default_factory=Watched)
    probes: Watched = field(default_factory=Watched)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether anything was wrong."""
        return bool(self.num_failures or self.good.faults or self.probes.faults or self.faults)

    def note(self, attempt: Attempt, found: list[Reply], end: End, faults: list[str], heard: bytes) -> None:
        """One input was tried."""
        self.inputs[attempt.source] += 1
        seen = self.statuses.setdefault(attempt.source, Counter())
        seen.update(str(reply.status) for reply in found)
        if not found:
            seen[end.name.lower()] += 1
        if faults:
            self.num_failures += 1
            if any(self.kinds[fault] < _KEPT for fault in faults):
                self.failures.append(Failure(attempt, faults, heard))
            self.kinds.update(faults)


async def campaign(site: Site, seed: int, inputs: int, probe_seconds: float = PROBE_SECONDS) -> Result:
    """Try so many inputs.

    Raises:
        WrongAnswer: the service does not answer a good request even before.
    """
    result = Result(seed)
    began = time.monotonic()
    reference, _ = await greedy_answer(site, stream=False)
    with neighbours(site, reference, probe_seconds) as stop:
        async with asyncio.TaskGroup() as sources:
            for name, attempts, check in await _sources(site, seed, inputs):
                sources.create_task(_source(site, attempts, check, _AT_ONCE[name], result))
        result.good, result.probes = await asyncio.to_thread(stop)
    result.faults += await balance(site)
    result.seconds = time.monotonic() - began
    return result


async def _sources(site: Site, seed: int, inputs: int) -> list[tuple[str, Iterator[Attempt], Check]]:
    def none(attempt: Attempt, reply: Reply) -> list[str]:
        return []

    makers = {
        bodies.SOURCE: bodies.attempt,
        raw_http.SOURCE: raw_http.attempt,
        departures.SOURCE: departures.attempt,
    }
    sources: list[tuple[str, Iterator[Attempt], Check]] = [
        (name, map(partial(make, site, seed), count()), none) for name, make in makers.items()
    ]
    cases = OpenApiCases(await _document(site), site, seed)
    sources.append((openapi_cases.SOURCE, cases.attempts(), cases.faults))
    return [(name, islice(made, round(inputs * SHARES[name])), check) for name, made, check in sources]


async def _document(site: Site) -> dict[str, object]:
    data = head(site, "GET", "/openapi.json", ())
    attempt = Attempt("document", 0, "openapi.json", (Piece(data),), Expected.WHOLE, ("GET",))
    heard = await exchange(site.host, site.port, attempt)
    (reply,) = replies(heard.data, attempt.methods)
    document: dict[str, object] = json.loads(reply.body)
    return document


async def _source(
    site: Site, attempts: Iterator[Attempt], check: Check, at_once: int, result: Result
) -> None:
    """Try all inputs of one source; they are made in a thread."""
    queue: asyncio.Queue[Attempt | None] = asyncio.Queue(4 * at_once)

    async def work() -> None:
        while (attempt := await queue.get()) is not None:
            await _try(site, attempt, check, result)

    async with asyncio.TaskGroup() as workers:
        for _ in range(at_once):
            workers.create_task(work())
        while block := await asyncio.to_thread(lambda: list(islice(attempts, _BLOCK))):
            for attempt in block:
                await queue.put(attempt)
        for _ in range(at_once):
            await queue.put(None)


async def _try(site: Site, attempt: Attempt, check: Check, result: Result) -> None:
    heard = await exchange(site.host, site.port, attempt)
    found, faults = judge(attempt, heard)
    for reply in found[:1]:
        faults += check(attempt, reply)
    result.note(attempt, found, heard.end, faults, heard.data)
