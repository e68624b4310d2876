"""Work on one request that would stall all others, done beside the event loop: one piece of a kind at a time.

A thread that runs Python shares the interpreter with the loop, so each further one lengthens the loop's waits.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")


class Aside:
    """A thread for one kind of work."""

    def __init__(self, kind: str) -> None:
        self._thread = ThreadPoolExecutor(1, kind)

    async def __call__(
        self, work: Callable[_Given, _Made], *given: _Given.args, **named: _Given.kwargs
    ) -> _Made:
        """What `work` returns, or raises, after all that was handed in before it."""
        return await asyncio.wrap_future(self._thread.submit(work, *given, **named))


bodies = Aside("bodies")
"""Reads and writes long ones; tens of milliseconds each."""
prompts = Aside("prompts")
"""Makes prompts of long texts, and of many."""
texts = Aside("texts")
"""Tokenizes what no context bounds, up to a second each: nobody's prompt waits for that."""
