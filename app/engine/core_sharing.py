"""CoreSharing: who goes first where the event loop and the engine want the same core."""

import os
from contextlib import suppress


class CoreSharing:
    """Lets the calling thread yield its core, or not; without effect where each has a core of its own.

    As a rule whatever arrives interrupts the engine, for a token on its way to a client should not wait. Under a flood
    that is a refusal each millisecond, and each costs two changes of process and what the caches held. A thread of the
    batch policy waits until the engine sleeps, or a few milliseconds, and finds several of them together.

    What it starts meanwhile has that policy for good. A thread that has another than the usual one keeps it.
    """

    def __init__(self) -> None:
        self._yields = False

    def let_engine_finish(self, yields: bool) -> None:
        """Whether the calling thread yields from now on; systems that know no such policy keep their own."""
        if yields == self._yields or not hasattr(os, "SCHED_BATCH"):
            return
        before, after = (os.SCHED_OTHER, os.SCHED_BATCH) if yields else (os.SCHED_BATCH, os.SCHED_OTHER)
        with suppress(OSError):  # a sandbox may forbid it
            if os.sched_getscheduler(0) == before:
                os.sched_setscheduler(0, after, os.sched_param(0))
                self._yields = yields
