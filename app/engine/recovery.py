"""Recovery: which requests of a process that ended are given to the next one, and when."""

import hashlib
import time
from collections.abc import Callable, Iterable

from app.engine.messages import AddRequest
from app.engine.open_request import OpenRequest

QUARANTINE_SECONDS = 600.0
_BLAMES = 2
"""Processes that a prompt may end before it is refused."""


class Recovery:
    """Finds the request that ends processes, and lets all others go on.

    A process may have ended for reasons of its own, so after a first end all requests go on together. After a second
    one any of those that saw both may be the culprit: they go on one after another, each on trial until it has said
    something, and after a third end until its answer is whole. One that was alone when a process ended is the culprit.
    A prompt that was found so twice is quarantined.

    Args:
        send: gives a request to the process.
        clock: monotonic seconds.
    """

    def __init__(
        self, send: Callable[[OpenRequest], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._send = send
        self._clock = clock
        self._on_trial: OpenRequest | None = None
        self._held: list[OpenRequest] = []
        self._blamed: dict[bytes, list[float]] = {}

    @property
    def in_trial(self) -> bool:
        """Whether requests go on one at a time now: a new one must not be mistaken for the culprit."""
        return self._on_trial is not None

    def process_ended(self, requests: Iterable[OpenRequest]) -> OpenRequest | None:
        """Note the end of the process that had these; returns the culprit, where it is known."""
        had = [request for request in requests if request.sent]
        for request in had:
            request.deaths += 1
            request.sent = False
        alone = had == [self._on_trial]
        self._on_trial, self._held = None, []
        if not alone:
            return None
        self._blame(had[0].added)
        return had[0]

    def process_ready(self, requests: Iterable[OpenRequest]) -> None:
        """Give a new process what it can have; the rest follows as trials end."""
        waiting = [request for request in requests if not request.sent]
        self._held = sorted((r for r in waiting if r.deaths > 1), key=lambda r: r.deaths)
        if not self._held:
            for request in waiting:
                self._go_on(request)
        else:
            # Those with one end behind them are no suspects, but would be with a suspect beside them.
            self._held += [request for request in waiting if request.deaths <= 1]
            self._next_trial()

    def heard_of(self, request: OpenRequest, *, ended: bool) -> None:
        """A request said something, or ended."""
        if request in self._held:  # its reader left
            self._held.remove(request)
        if request is self._on_trial and (ended or request.deaths < 3):
            self._next_trial()

    def is_quarantined(self, prompt: list[int]) -> bool:
        """Whether the prompt ended several processes lately."""
        if not self._blamed:
            return False
        since = self._clock() - QUARANTINE_SECONDS
        self._blamed = {digest: times for digest, times in self._blamed.items() if times[-1] > since}
        return len(self._blamed.get(_digest(prompt), ())) >= _BLAMES

    def _next_trial(self) -> None:
        self._on_trial = None
        while self._held and self._held[0].deaths <= 1:
            self._go_on(self._held.pop(0))
        if self._held:
            self._on_trial = self._held.pop(0)
            self._go_on(self._on_trial)

    def _go_on(self, request: OpenRequest) -> None:
        request.sent = True
        self._send(request)

    def _blame(self, request: AddRequest) -> None:
        self._blamed.setdefault(_digest(request.prompt), []).append(self._clock())


def _digest(prompt: list[int]) -> bytes:
    return hashlib.blake2b(repr(prompt).encode(), digest_size=16).digest()
