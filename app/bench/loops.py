"""Who sends when: users who wait for their answers (closed loop), or arrivals by the clock (open loop)."""

import asyncio
import gc
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from app.bench.ask import Ask, Server
from app.bench.client_lag import watch_client_lag
from app.bench.sample import Sample

Arrivals = Iterable[tuple[float, float]]
"""Seconds since the start, growing, each with the rate that it belongs to."""


class TooManyInFlight(Exception):
    """The server falls ever further behind the arrivals; the message is one line."""


def poisson(rate: float, chooser: random.Random) -> Iterator[float]:
    """Offsets of arrivals that come independently of each other, `rate` a second on average; without an end."""
    offset = 0.0
    while True:
        offset += chooser.expovariate(rate)
        yield offset


def constant(rate: float) -> Iterator[float]:
    """Offsets of arrivals at equal distances; without an end."""
    number = 0
    while True:
        yield number / rate
        number += 1


@contextmanager
def without_full_collections() -> Iterator[None]:
    """Only young garbage is collected meanwhile.

    A run keeps its samples: going through a hundred thousand of them holds the client for tens of milliseconds, which
    count as the server's.
    """
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, 1_000_000)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)


async def closed_loop(
    server: Server,
    next_ask: Callable[[], Ask],
    users: int,
    requests: int,
    seconds: float,
    samples: list[Sample],
) -> None:
    """`users` clients, each sending as soon as it was answered.

    Where the server stalls they send nothing, so the worst waits are few among the samples: what a number of users
    sees, not what arrivals would have seen.

    Args:
        requests: after so many no more are sent.
        seconds: after this time no more are sent.
        samples: filled while the run lasts.
    """
    began = time.perf_counter()
    left = requests

    async def user() -> None:
        nonlocal left
        while left > 0 and time.perf_counter() < began + seconds:
            left -= 1
            await server.send(next_ask(), users, samples, began, lag.now)

    with without_full_collections():
        async with watch_client_lag() as lag, asyncio.TaskGroup() as tasks:
            for _ in range(users):
                tasks.create_task(user())


async def open_loop(
    server: Server,
    next_ask: Callable[[], Ask],
    arrivals: Arrivals,
    samples: list[Sample],
    most_in_flight: int = 512,
) -> None:
    """A request for each arrival, whatever became of those before.

    Args:
        samples: filled while the run lasts.

    Raises:
        TooManyInFlight: more than `most_in_flight` wait for their answers; they were given up, and have failed.
    """
    began = time.perf_counter()

    async def one(stage: float, due: float) -> None:
        await server.send(next_ask(), stage, samples, began, lag.now, due)

    overrun: str | None = None
    with without_full_collections():
        async with watch_client_lag() as lag, asyncio.TaskGroup() as group:
            tasks: set[asyncio.Task[None]] = set()
            for offset, stage in arrivals:
                due = began + offset
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                if len(tasks) >= most_in_flight:
                    overrun = f"{len(tasks)} requests wait for answers: the server falls behind {stage:g} requests/s"
                    break
                task = group.create_task(one(stage, due))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            if overrun:
                for task in tasks:
                    task.cancel()
    if overrun:
        raise TooManyInFlight(overrun)
