"""The engine process's loop: take what arrived, step, send what came out."""

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


def run_engine(core: Core, channel: Channel) -> None:
    """Run until the API process is gone. Blocks only when there is nothing to do; never sleeps.

    Raises:
        AssertionError: the core's state was wrong after its last work.
    """
    while (messages := channel.receive(wait=not core.has_work)) is not None:
        for message in messages:
            if isinstance(message, AddRequest):
                core.add(message)
            elif isinstance(message, Abort):
                core.abort(message.id)
        if core.has_work:
            _step(core, channel)


def _step(core: Core, channel: Channel) -> None:
    """Step and send; when that was the end of the work, check the core's state while nobody waits for it."""
    channel.send(core.step())
    if not core.has_work:
        core.check_invariants()
