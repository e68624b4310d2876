"""What is done to the service, one function a fault; each returns when its traces should be gone."""

import asyncio
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from app.bench.http_stream import Connections
from loadtests.reliability.chaos.asking import ask
from loadtests.reliability.chaos.history import Fault, FaultKind
from loadtests.reliability.chaos.leaving import STAGES, leave, read_nothing
from loadtests.reliability.chaos.questions import bad_questions
from loadtests.reliability.chaos.run import MODEL, Run
from loadtests.reliability.chaos.service import CROWD, LEAVERS, MAX_RUNNING, MAX_WAITING

RECOVERY_SECONDS = 30.0
NOBODY = "-"
"""The tenant of requests without a good key."""
_LEAVERS, _READERS = 20, 3
_UNREAD_SECONDS = 10.0
"""What a connection holds, some megabytes, must be full, and then for as long as the service allows."""
_SPARE_DESCRIPTORS = 2
_CONNECTIONS = 20
_JUMPS = (3600, -7200)
"""Seconds by which the wall clock is off, one after the other."""


async def kill(run: Run, fault: Fault) -> None:
    """The engine is killed, and another one takes its place."""
    await _lose_engine(run, fault, signal.SIGKILL)


async def hang(run: Run, fault: Fault) -> None:
    """The engine stops, as in a loop that never ends; it is found out and replaced."""
    await _lose_engine(run, fault, signal.SIGSTOP)


async def _lose_engine(run: Run, fault: Fault, sig: signal.Signals) -> None:
    ready = await run.wait_ready(RECOVERY_SECONDS)
    engine = run.subject.engine
    if not ready or engine is None:
        fault.note = "there was no engine to lose"
        return
    fault.began = time.monotonic()
    engine.send_signal(sig)
    with suppress(TimeoutError):
        async with asyncio.timeout(RECOVERY_SECONDS):
            while (other := run.subject.engine) is None or other.pid == engine.pid:
                await asyncio.sleep(0.01)
            fault.replaced = time.monotonic()
            while run.probe.last_sent < fault.replaced:
                await asyncio.sleep(0.01)
    if fault.replaced and await run.wait_ready(RECOVERY_SECONDS):
        fault.note = f"ready again after {run.probe.seen[-1].got - fault.began:.2f} s"


async def stall(run: Run, fault: Fault) -> None:
    """The API process stands still for a second."""
    run.subject.api.suspend()
    try:
        await asyncio.sleep(1.0)
    finally:
        run.subject.api.resume()
    await asyncio.sleep(0.5)


async def burst(run: Run, fault: Fault) -> None:
    """Four times as many at once as run and wait."""
    connections = [run.subject.connect(CROWD) for _ in range(4 * (MAX_RUNNING + MAX_WAITING))]
    questions = [question for question in run.questions if question.stream]
    found = await asyncio.gather(
        *(
            ask(run.subject.base, one, CROWD, questions[n % len(questions)])
            for n, one in enumerate(connections)
        )
    )
    for one in connections:
        one.close()
    run.exchanges += found
    refused = sum(exchange.fate == "refused" for exchange in found)
    fault.note = f"{refused} of {len(found)} refused"


async def descriptors(run: Run, fault: Fault) -> None:
    """The API process has hardly a descriptor left, and clients go on connecting."""
    api = run.subject.api
    before = api.rlimit(resource.RLIMIT_NOFILE)
    api.rlimit(resource.RLIMIT_NOFILE, (api.num_fds() + _SPARE_DESCRIPTORS, before[1]))
    clients = [socket.socket() for _ in range(_CONNECTIONS)]
    try:
        for client in clients:
            client.setblocking(False)
            with suppress(OSError):
                client.connect(("127.0.0.1", run.subject.port))
        await asyncio.sleep(2.0)
        fault.note = f"{api.num_fds()} descriptors, {api.rlimit(resource.RLIMIT_NOFILE)[0]} allowed"
    finally:
        api.rlimit(resource.RLIMIT_NOFILE, before)
        for client in clients:
            client.close()
    await asyncio.sleep(0.5)


async def slow(run: Run, fault: Fault) -> None:
    """Clients read nothing of streams that are larger than what a connection holds."""
    key = run.subject.keys[LEAVERS]
    readers = [read_nothing(run.subject.port, key, MODEL, _UNREAD_SECONDS) for _ in range(_READERS)]
    cut = await asyncio.gather(*readers)
    run.leavers += _READERS
    fault.note = f"{sum(cut)} of {_READERS} cut off"


async def leavers(run: Run, fault: Fault) -> None:
    """Clients leave in each stage."""
    for number in range(_LEAVERS):
        stage, patience = STAGES[number % len(STAGES)], run.chooser.uniform(0, 0.05)
        with suppress(OSError):
            await leave(run.subject.port, run.subject.keys[LEAVERS], MODEL, stage, patience)
            run.leavers += 1
    fault.note = f"{_LEAVERS} left"


async def log(run: Run, fault: Fault) -> None:
    """Nobody reads the log for a while, and then its pipe is full."""
    if run.subject.sink is None:
        return
    run.subject.sink.block()
    try:
        await asyncio.sleep(3.0)
    finally:
        run.subject.sink.flow()


async def clock(run: Run, fault: Fault) -> None:
    """The wall clock jumps an hour ahead, then back behind where it was."""
    jumping = run.subject.clock
    if jumping is None:
        fault.note = "not tried: no C compiler"
        return
    try:
        for seconds in _JUMPS:
            jumping.jump(seconds)
            await asyncio.sleep(1.5)
    finally:
        jumping.jump(0)
    await asyncio.sleep(0.5)


async def bad(run: Run, fault: Fault) -> None:
    """Nonsense, and strangers."""
    connections, stranger = run.subject.connect(CROWD), Connections("rp-unknown")
    for question in bad_questions(MODEL):
        run.exchanges.append(await ask(run.subject.base, connections, CROWD, question))
        run.exchanges.append(await ask(run.subject.base, stranger, NOBODY, question))
    connections.close()
    stranger.close()


HEAVY: Mapping[FaultKind, Callable[[Run, Fault], Awaitable[None]]] = {
    "kill": kill,
    "hang": hang,
    "stall": stall,
    "burst": burst,
    "descriptors": descriptors,
}
"""One after another."""
LIGHT: Mapping[FaultKind, Callable[[Run, Fault], Awaitable[None]]] = {
    "slow": slow,
    "leave": leavers,
    "log": log,
    "clock": clock,
    "bad": bad,
}
"""Beside those, one after another: good traffic must not notice."""
