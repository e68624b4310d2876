"""From the start of a service to the end of its drain: faults by a seeded plan, then the checker's verdict."""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from loadtests.reliability.chaos import rules
from loadtests.reliability.chaos.asking import fault_free
from loadtests.reliability.chaos.faults import HEAVY, LIGHT, NOBODY
from loadtests.reliability.chaos.history import Fault, FaultKind, serving_again
from loadtests.reliability.chaos.probes import ReadinessProbe
from loadtests.reliability.chaos.questions import good_questions
from loadtests.reliability.chaos.rules import Counted
from loadtests.reliability.chaos.run import MODEL, Run
from loadtests.reliability.chaos.service import CROWD, GOOD, Subject

_PAUSE_SECONDS = (0.5, 2.0)
_IDLE_SECONDS = 10.0
_EXIT_SECONDS = 60.0


@dataclass
class Life:
    """A run that is over.

    Attributes:
        violations: by rule, of those that have some.
        exit_code: of the drained process; None where it had to be killed.
        engine_hung: in the drain.
    """

    run: Run
    violations: Mapping[str, Sequence[str]]
    exit_code: int | None
    engine_hung: bool = False

    def faults(self, kind: FaultKind) -> list[Fault]:
        """Those of a kind."""
        return [fault for fault in self.run.faults if fault.kind == kind]


async def live(
    subject: Subject,
    seconds: float,
    seed: int,
    heavy: Sequence[FaultKind] = tuple(HEAVY),
    light: Sequence[FaultKind] = tuple(LIGHT),
    *,
    engine_hangs: bool = False,
) -> Life:
    """Let everything happen to a service, each kind of fault once at least, for about so long, and drain it.

    Args:
        engine_hangs: in the drain, so that nothing that is open can end well; it must end on time all the same.
    """
    chooser = random.Random(seed)
    run = Run(subject, ReadinessProbe(subject.port), good_questions(MODEL), chooser)
    connections = subject.connect(GOOD)
    run.answers, first = await fault_free(subject.base, connections, GOOD, run.questions)
    connections.close()
    run.exchanges += first
    until = time.monotonic() + seconds
    async with run.good_traffic():
        await asyncio.gather(
            *(
                _lane(run, {kind: ways[kind] for kind in kinds}, random.Random(chooser.random()), until)
                for ways, kinds in ((HEAVY, heavy), (LIGHT, light))
            )
        )
        await run.wait_ready(_IDLE_SECONDS)
    held = await subject.wait_idle(_IDLE_SECONDS)
    counted = {tenant: await subject.counted(tenant) for tenant in (GOOD, CROWD, NOBODY)}
    before_drain = len(run.exchanges)
    code = await _drain(run, engine_hangs)
    run.probe.stop()
    for fault in run.faults:
        fault.serving = serving_again(run.exchanges, fault)
    found = _violations(run, counted, before_drain)
    if not engine_hangs:
        good = [exchange for exchange in run.exchanges if exchange.tenant == GOOD]
        found["the drain breaks nothing off"] = list(rules.drained_whole(good, run.faults[-1]))
    found["nothing is held when idle"] = [f"{name} is {value:g}" for name, value in held.items()]
    return Life(run, {rule: lines for rule, lines in found.items() if lines}, code, engine_hangs)


async def _lane(
    run: Run,
    ways: Mapping[FaultKind, Callable[[Run, Fault], Awaitable[None]]],
    chooser: random.Random,
    until: float,
) -> None:
    """One fault after another, in rounds of all kinds, each round in another order."""
    began = time.monotonic()
    order: list[FaultKind] = []
    left = set(ways)
    while ways and (left or time.monotonic() < until):
        order = order or chooser.sample(sorted(ways), len(ways))
        kind = order.pop()
        left.discard(kind)
        await asyncio.sleep(chooser.uniform(*_PAUSE_SECONDS))
        fault = Fault(kind, time.monotonic())
        run.faults.append(fault)
        await ways[kind](run, fault)
        fault.ended = time.monotonic()
        took = fault.ended - fault.began
        line = f"{fault.began - began:6.1f} s  {kind:<12} {took:5.1f} s  {fault.note}"
        print(line.rstrip(), file=sys.stderr, flush=True)


async def _drain(run: Run, engine_hangs: bool) -> int | None:
    """End the service under load, with nobody at the other end of its log; its exit code, None if it does not end."""
    if run.subject.sink is not None:
        run.subject.sink.break_off()
    process = run.subject.running.process
    async with run.good_traffic():
        await asyncio.sleep(1.0)
        drain = Fault("drain", time.monotonic())
        run.faults.append(drain)
        if engine_hangs and run.subject.engine is not None:
            run.subject.engine.suspend()
        process.send_signal(signal.SIGTERM)
        while process.poll() is None and time.monotonic() < drain.began + _EXIT_SECONDS:
            await asyncio.sleep(0.01)
        drain.ended = time.monotonic()
    return process.returncode


def _violations(run: Run, counted: Mapping[str, Counted], before_drain: int) -> dict[str, list[str]]:
    """All rules but those of time; the counts are those before the drain, after which nobody can ask."""
    seen, faults = run.exchanges, run.faults
    early = seen[:before_drain]
    good = [exchange for exchange in seen if exchange.tenant == GOOD]
    return {
        "every request ends once": list(rules.ended_once(seen)),
        "no answer ends in silence": list(rules.never_silent(seen, faults)),
        "[DONE] is a whole answer's end": list(rules.done_is_whole(seen)),
        "text is the fault-free one": list(rules.text_is_true(seen, run.answers)),
        "tokens are the fault-free ones": list(rules.tokens_are_true(seen, run.answers)),
        "refusals say when to retry": list(rules.refusals_say_when(seen)),
        "good traffic suffers from nothing else": list(rules.unprovoked(good, faults)),
        "nonsense is refused": list(rules.nonsense_is_refused(seen, faults)),
        "clients and metrics count alike": [
            f"{tenant}: {line}"
            for tenant, told in counted.items()
            for line in rules.counts_agree([one for one in early if one.tenant == tenant], told)
        ],
        "nothing unforeseen is logged": run.subject.sink.lines if run.subject.sink else [],
    }
