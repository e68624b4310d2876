"""The service, telling when its work begins and ends: `python -m loadtests.reliability.watched_service`.

Each line that goes to the pipe `WATCH_PIPE` begins with an instant on `time.monotonic`, which all processes of a
machine share, so that nothing has to be asked for, and no interval between questions blurs the answer.
"""

import os
import sys
import time
from typing import Any

from app.engine.client import AsyncEngine
from app.engine.messages import FinishReason, StepStats
from app.engine.open_request import OpenRequest
from app.engine.stream import RequestStream
from app.metrics import Metrics
from app.observation import Observation

PIPE = "WATCH_PIPE"


def watch(pipe: int) -> None:
    """Have the service tell of its work.

    `+ ID TENANT`: a sequence is taken in. `- ID SECONDS`: the engine has given back its slot, blocks or queue place,
    in a step that took so long. `. TENANT OUTCOME`: a request has ended.
    """
    submit, end = AsyncEngine.submit, AsyncEngine._end
    observe, step = Metrics.observe_request, Metrics.step
    last_step = 0.0

    def tell(*words: object) -> None:
        os.write(pipe, f"{time.monotonic()} {' '.join(map(str, words))}\n".encode())

    def submitting(self: AsyncEngine, *arguments: Any, **named: Any) -> RequestStream:
        stream = submit(self, *arguments, **named)
        tell("+", stream.id, named.get("cache_salt") or "-")
        return stream

    def ending(self: AsyncEngine, request: OpenRequest, reason: FinishReason) -> None:
        end(self, request, reason)
        tell("-", request.added.id, last_step)

    def stepping(self: Metrics, stats: StepStats) -> None:
        nonlocal last_step
        step(self, stats)
        last_step = stats.seconds

    def observing(self: Metrics, observation: Observation) -> None:
        observe(self, observation)
        tell(".", observation.tenant, observation.outcome)

    AsyncEngine.submit = submitting  # type: ignore[method-assign]
    AsyncEngine._end = ending  # type: ignore[method-assign]
    Metrics.step = stepping  # type: ignore[method-assign]
    Metrics.observe_request = observing  # type: ignore[method-assign]


if __name__ == "__main__":
    from app.__main__ import main

    watch(os.open(os.environ.pop(PIPE), os.O_WRONLY))
    sys.exit(main([]))
