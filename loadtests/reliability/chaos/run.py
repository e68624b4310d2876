"""One life of a service under good traffic: what was done to it, and what everybody saw."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from loadtests.reliability.chaos.asking import ask
from loadtests.reliability.chaos.history import Answer, Exchange, Fault
from loadtests.reliability.chaos.probes import ReadinessProbe
from loadtests.reliability.chaos.questions import Question
from loadtests.reliability.chaos.service import GOOD, Subject

MODEL = "repartee-support"
STREAMS = 5
"""Customers who ask for long streams all the time, so that every fault meets some."""
_OTHERS = 3
_THINK_SECONDS = 0.15
_AFTER_REFUSAL_SECONDS = 0.3


@dataclass
class Run:
    """What is known of it.

    Attributes:
        answers: the fault-free ones.
        exchanges: of the tenants that stay to the end.
        leavers: clients that went away.
    """

    subject: Subject
    probe: ReadinessProbe
    questions: list[Question]
    chooser: random.Random
    answers: dict[str, Answer] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)
    leavers: int = 0
    faults: list[Fault] = field(default_factory=list)

    async def wait_ready(self, seconds: float) -> bool:
        """Wait until the probe says ready, for at most so long."""
        try:
            async with asyncio.timeout(seconds):
                while not self.probe.ready:
                    await asyncio.sleep(0.005)
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def good_traffic(self) -> AsyncIterator[None]:
        """Customers who wait for their answers; those that are open when the context is left get theirs."""
        over = asyncio.Event()
        long = [question for question in self.questions if question.name.startswith("long")]
        others = [question for question in self.questions if question not in long]
        crowd = [
            asyncio.create_task(self._customer(questions, over, random.Random(self.chooser.random())))
            for questions, count in ((long, STREAMS), (others, _OTHERS))
            for _ in range(count)
        ]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*crowd)

    async def _customer(self, questions: list[Question], over: asyncio.Event, chooser: random.Random) -> None:
        with self.subject.connect(GOOD) as connections:
            while not over.is_set():
                exchange = await ask(self.subject.base, connections, GOOD, chooser.choice(questions))
                self.exchanges.append(exchange)
                thinks = _AFTER_REFUSAL_SECONDS if exchange.fate != "completed" else _THINK_SECONDS
                await asyncio.sleep(chooser.uniform(0, 2 * thinks))
