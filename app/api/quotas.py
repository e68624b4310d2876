"""What one API key may still use: requests a second, tokens a minute, requests at once."""

import time
from collections.abc import Callable

from app.errors import QuotaExceeded
from app.keys import KeyEntry

OPEN_RETRY_SECONDS = 1.0
"""When those that are open may have ended."""
FIRST_GUESS_TOKENS = 512.0
"""What a request is taken for before any of its key has ended."""
NEWEST_SHARE = 0.2
"""How much the last request says about the next one."""


class TokenBucket:
    """A bucket that refills at a steady rate and may go into debt when charged after the fact.

    Args:
        capacity: most that can be held; a new bucket is full.
        rate: refill per second.
        clock: monotonic seconds.
    """

    def __init__(self, capacity: float, rate: float, clock: Callable[[], float]) -> None:
        self.capacity = capacity
        self.rate = rate
        self._clock = clock
        self._level = capacity
        self._at = clock()

    def level(self) -> float:
        """What the bucket holds now; negative in debt."""
        now = self._clock()
        self._level = min(self.capacity, self._level + (now - self._at) * self.rate)
        self._at = now
        return self._level

    def take(self, amount: float) -> None:
        """Charge an amount, into debt if need be."""
        self._level = self.level() - amount

    def wait(self, amount: float) -> float:
        """Seconds until the bucket holds so much; 0 when it does."""
        return max(0.0, (amount - self.level()) / self.rate)


class Quota:
    """The use of one key; `admit` and `release` bracket each request.

    What a request will take is not known before its body is read, so tokens are charged at its end, and what is too
    much is a debt that must refill first. Until then an open request counts as much as those of this key took on
    average: many at once do not all pass on the same tokens.
    """

    def __init__(self, entry: KeyEntry, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open = 0
        self._usual_tokens = FIRST_GUESS_TOKENS
        self._requests: TokenBucket | None = None
        self._tokens: TokenBucket | None = None
        self.limit(entry)

    def limit(self, entry: KeyEntry) -> None:
        """Let an entry's limits hold from now on; a bucket whose limit is new is full, another one as it was."""
        rate, tokens = entry.requests_per_second, entry.tokens_per_minute
        self._concurrency = entry.concurrency
        self._requests = self._bucket(self._requests, max(1.0, rate), rate) if rate else None
        self._tokens = self._bucket(self._tokens, tokens, tokens / 60) if tokens else None

    def _bucket(self, before: TokenBucket | None, capacity: float, rate: float) -> TokenBucket:
        same = before is not None and (before.capacity, before.rate) == (capacity, rate)
        return before if before is not None and same else TokenBucket(capacity, rate, self._clock)

    def admit(self) -> None:
        """Begin a request.

        Raises:
            QuotaExceeded: a limit is reached; nothing was charged.
        """
        if self._concurrency and self._open >= self._concurrency:
            raise QuotaExceeded("requests at once", OPEN_RETRY_SECONDS)
        if self._tokens:
            level = self._tokens.level()
            if level <= 0:
                raise QuotaExceeded("tokens per minute", self._tokens.wait(1.0))
            if level <= self._open * self._usual_tokens:
                raise QuotaExceeded("tokens per minute", OPEN_RETRY_SECONDS)
        if self._requests:
            if wait := self._requests.wait(1.0):
                raise QuotaExceeded("requests per second", wait)
            self._requests.take(1.0)
        self._open += 1

    def release(self, tokens: int) -> None:
        """End a request that used so many tokens; 0 is one that was refused, and says nothing of the others."""
        self._open -= 1
        if self._tokens and tokens:
            self._tokens.take(tokens)
            self._usual_tokens += (tokens - self._usual_tokens) * NEWEST_SHARE

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
