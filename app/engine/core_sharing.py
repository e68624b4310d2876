"""CoreSharing: who goes first where the event loop and the engine want the same core."""

import os
from contextlib import suppress


class CoreSharing:
    """Lets the calling thread yield its core, or not; without effect where each has a core of its own.

    As a rule whatever arrives interrupts the engine, for a token on its way to a client should not wait. Under a flood
    that is a refusal each millisecond, and each costs two changes of process and what the caches held. A thread of the
    batch policy waits until the engine sleeps, or a few milliseconds, and finds several of them together.

    What it starts meanwhile has that policy for good, which costs nothing: neither an engine nor work beside the loop
    is to go first.
    """

    def __init__(self) -> None:
        self._usual: int | None = None
        """The policy to go back to, while the thread yields."""

    def let_engine_finish(self, yields: bool) -> None:
        """Whether the calling thread yields from now on; systems that know no such policy keep their own."""
        if yields == (self._usual is not None) or not hasattr(os, "SCHED_BATCH"):
            return
        usual = os.sched_getscheduler(0) if self._usual is None else self._usual
        self._usual = usual if yields else None
        with suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH if yields else usual, os.sched_param(0))
