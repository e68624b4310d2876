"""Who uses the service all the while: a client whose answer must stay the same, and probes."""

import asyncio
import json
import multiprocessing
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from loadtests.reliability.fuzz.attempt import Attempt, Expected, Piece, Site, head, post
from loadtests.reliability.fuzz.verdict import judge
from loadtests.reliability.fuzz.wire import exchange

PROBES = ("/livez", "/readyz", "/startupz")
PROBE_SECONDS = 2.0
"""A probe that takes longer has failed, unless another limit is given."""
_PAUSE_SECONDS = 0.1
_MOST_FAULTS = 20
_PROMPT = "My order 4711 has not arrived. What can I do?"


class WrongAnswer(Exception):
    """A good request was not answered as it must be."""


@dataclass
class Watched:
    """What a neighbour saw; seconds of its slowest answer."""

    asked: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str) -> None:
        """Note one; a service that is gone makes thousands."""
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(what)


async def greedy_answer(site: Site, *, stream: bool) -> tuple[str, float]:
    """The model's answer to the fixed prompt, and the seconds that it took.

    Raises:
        WrongAnswer: it was no success.
    """
    body = {
        "model": site.model,
        "messages": [{"role": "user", "content": _PROMPT}],
        "max_tokens": 24,
        "temperature": 0,
        "stream": stream,
    }
    data = post(site, "/v1/chat/completions", json.dumps(body).encode())
    attempt = Attempt("good", 0, "good traffic", (Piece(data),), Expected.WHOLE)
    heard = await exchange(site.host, site.port, attempt)
    found, faults = judge(attempt, heard)
    if faults or found[0].status != 200:
        raise WrongAnswer(", ".join(faults) or f"status {found[0].status}")
    return _text(found[0].body, stream=stream), heard.seconds


def _text(body: bytes, *, stream: bool) -> str:
    if not stream:
        return str(json.loads(body)["choices"][0]["message"]["content"])
    chunks: list[dict[str, Any]] = [
        json.loads(line.removeprefix(b"data: ")) for line in body.splitlines() if line.startswith(b"data: {")
    ]
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])


async def good_traffic(site: Site, reference: str, watched: Watched) -> None:
    """Ask the same again and again, until cancelled."""
    while True:
        try:
            text, seconds = await greedy_answer(site, stream=watched.asked % 2 == 1)
            watched.slowest = max(watched.slowest, seconds)
            if text.encode() != reference.encode():
                watched.fault("another answer than before")
        except WrongAnswer as wrong:
            watched.fault(str(wrong))
        watched.asked += 1
        await asyncio.sleep(_PAUSE_SECONDS)


async def probes(site: Site, limit: float, watched: Watched) -> None:
    """Ask the probes in turn, until cancelled; each must answer within so many seconds."""
    while True:
        path = PROBES[watched.asked % len(PROBES)]
        data = head(site, "GET", path, (), key="none")
        attempt = Attempt("probe", 0, path, (Piece(data),), Expected.WHOLE, ("GET",), patience=2 * limit)
        heard = await exchange(site.host, site.port, attempt)
        found, faults = judge(attempt, heard)
        watched.asked += 1
        watched.slowest = max(watched.slowest, heard.seconds)
        if faults or found[0].status != 200:
            watched.fault(f"{path}: {', '.join(faults) or found[0].status}")
        elif heard.seconds > limit:
            watched.fault(f"{path}: {heard.seconds:.1f} s")
        await asyncio.sleep(_PAUSE_SECONDS)


def _neighbours(site: Site, reference: str, limit: float, control: Connection) -> None:
    """A process: be beside the campaign until told to stop, and tell what was seen."""
    with suppress(EOFError):  # who started it has ended
        control.send(asyncio.run(_until_told(site, reference, limit, control)))


async def _until_told(
    site: Site, reference: str, limit: float, control: Connection
) -> tuple[Watched, Watched]:
    good, probed = Watched(), Watched()
    tasks = [
        asyncio.create_task(good_traffic(site, reference, good)),
        asyncio.create_task(probes(site, limit, probed)),
    ]
    try:
        await asyncio.to_thread(control.recv)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return good, probed


@contextmanager
def neighbours(site: Site, reference: str, limit: float) -> Iterator[Callable[[], tuple[Watched, Watched]]]:
    """Good traffic and probes from a process of their own, since making inputs would make their clock wrong.

    Yields what stops them and returns what they saw.
    """
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_neighbours, args=(site, reference, limit, there), daemon=True)
    process.start()
    there.close()

    def stop() -> tuple[Watched, Watched]:
        here.send(None)
        seen: tuple[Watched, Watched] = here.recv()
        return seen

    try:
        yield stop
    finally:
        here.close()
        process.kill()
        process.join()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Whether the condition came true in time."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.1)
    except TimeoutError:
        return False
    return True
