"""The engine process's loop: take what arrived, step, send what came out."""

import time
from typing import Protocol

from app.engine.messages import Abort, AddRequest, FromEngine, StepOutputs, ToEngine


class Core(Protocol):
    """What the loop needs of an EngineCore."""

    @property
    def has_work(self) -> bool: ...
    def add(self, request: AddRequest) -> None: ...
    def abort(self, request_id: int) -> None: ...
    def step(self) -> StepOutputs: ...
    def check_invariants(self) -> None: ...


class Channel(Protocol):
    """What the loop needs of a BlockingChannel."""

    def send(self, message: FromEngine) -> None: ...
    def receive(self, wait: bool) -> list[ToEngine] | None: ...


class IdleCheck:
    """Checks a core's state when its work is done, at most one percent of the time: a client may ask again at once."""

    def __init__(self) -> None:
        self._not_before = 0.0

    def __call__(self, core: Core) -> None:
        """Check, unless the last time is too near.

        Raises:
            AssertionError: the core's state is wrong.
        """
        started = time.monotonic()
        if started < self._not_before:
            return
        core.check_invariants()
        ended = time.monotonic()
        self._not_before = ended + 100 * (ended - started)


def run_engine(core: Core, channel: Channel) -> None:
    """Run until the API process is gone. Blocks only when there is nothing to do; never sleeps.

    Raises:
        AssertionError: the core's state was wrong after its last work.
    """
    check = IdleCheck()
    while (messages := channel.receive(wait=not core.has_work)) is not None:
        for message in messages:
            if isinstance(message, AddRequest):
                core.add(message)
            elif isinstance(message, Abort):
                core.abort(message.id)
        if core.has_work:
            _step(core, channel, check)


def _step(core: Core, channel: Channel, check: IdleCheck) -> None:
    """Step and send; when that was the end of the work, check the core's state while nobody waits for it."""
    channel.send(core.step())
    if not core.has_work:
        check(core)
