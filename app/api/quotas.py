"""What one API key may still use: requests a second, tokens a minute, requests at once."""

import time
from collections.abc import Callable

from app.errors import QuotaExceeded
from app.keys import KeyEntry

CONCURRENCY_RETRY_SECONDS = 1.0


class TokenBucket:
    """A bucket that refills at a steady rate and may go into debt when charged after the fact.

    Args:
        capacity: most that can be held; a new bucket is full.
        rate: refill per second.
        clock: monotonic seconds.
    """

    def __init__(self, capacity: float, rate: float, clock: Callable[[], float]) -> None:
        self.capacity = capacity
        self._rate = rate
        self._clock = clock
        self._level = capacity
        self._at = clock()

    def level(self) -> float:
        """What the bucket holds now; negative in debt."""
        now = self._clock()
        self._level = min(self.capacity, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level

    def take(self, amount: float) -> None:
        """Charge an amount, into debt if need be."""
        self._level = self.level() - amount

    def wait(self, amount: float) -> float:
        """Seconds until the bucket holds so much; 0 when it does."""
        return max(0.0, (amount - self.level()) / self._rate)


class Quota:
    """The use of one key; `admit` and `release` bracket each request."""

    def __init__(self, entry: KeyEntry, clock: Callable[[], float] = time.monotonic) -> None:
        rate, tokens = entry.requests_per_second, entry.tokens_per_minute
        self._requests = TokenBucket(max(1.0, rate), rate, clock) if rate else None
        self._tokens = TokenBucket(tokens, tokens / 60, clock) if tokens else None
        self._concurrency = entry.concurrency
        self._open = 0

    def admit(self) -> None:
        """Begin a request.

        Raises:
            QuotaExceeded: a limit is reached; nothing was charged.
        """
        if self._concurrency and self._open >= self._concurrency:
            raise QuotaExceeded(CONCURRENCY_RETRY_SECONDS)
        if self._tokens and self._tokens.level() <= 0:
            raise QuotaExceeded(self._tokens.wait(1.0))
        if self._requests:
            if wait := self._requests.wait(1.0):
                raise QuotaExceeded(wait)
            self._requests.take(1.0)
        self._open += 1

    def release(self, tokens: int) -> None:
        """End a request that used so many tokens."""
        self._open -= 1
        if self._tokens:
            self._tokens.take(tokens)

    def headers(self) -> dict[str, str]:
        """The `x-ratelimit-*` headers of the limits that this key has."""
        buckets = (("requests", self._requests), ("tokens", self._tokens))
        return {name: value for kind, bucket in buckets if bucket for name, value in _headers(kind, bucket)}


def _headers(kind: str, bucket: TokenBucket) -> list[tuple[str, str]]:
    return [
        (f"x-ratelimit-limit-{kind}", str(int(bucket.capacity))),
        (f"x-ratelimit-remaining-{kind}", str(max(0, int(bucket.level())))),
        (f"x-ratelimit-reset-{kind}", f"{bucket.wait(bucket.capacity):.3f}s"),
    ]
