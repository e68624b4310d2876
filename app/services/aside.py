"""Work on one request that would stall all others, done beside the event loop: one piece of a kind at a time.

A thread that runs Python shares the interpreter with the loop, so each further one lengthens the loop's waits.
"""

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import ParamSpec, TypeVar

from app.errors import Overloaded

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")
_RETRY_SECONDS = 1.0


class Aside:
    """A thread for one kind of work.

    Args:
        most: pieces that may be handed in and not done; any number by default.
    """

    def __init__(self, kind: str, most: int = sys.maxsize) -> None:
        self._thread = ThreadPoolExecutor(1, kind)
        self._places = Semaphore(most)

    async def __call__(
        self, work: Callable[_Given, _Made], *given: _Given.args, **named: _Given.kwargs
    ) -> _Made:
        """What `work` returns, or raises, after all that was handed in before it.

        Raises:
            Overloaded: as much waits as may.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded(_RETRY_SECONDS)
        handed_in = self._thread.submit(work, *given, **named)
        handed_in.add_done_callback(lambda _: self._places.release())  # also where its caller has left
        return await asyncio.wrap_future(handed_in)


bodies = Aside("bodies")
"""Reads and writes long ones; tens of milliseconds each."""
prompts = Aside("prompts")
"""Makes prompts of long texts, and of many."""
texts = Aside("texts", most=16)
"""Tokenizes what no context bounds, up to a second each: nobody's prompt waits for that, and none of these too long."""
