"""The virtual model: logits that are a pure function of all tokens before, so that every answer is known beforehand."""

import numpy

VOCABULARY = 24
EOS = 1
POISON = 22
"""A token over which every forward pass raises."""
NOT_FINITE = 23
"""A token behind which every number is NaN."""
WORDS = range(2, 22)
"""The tokens that the model says, beside EOS."""

BEGIN = 0x9E3779B97F4A7C15
NAN = -1
"""State of a token in whose past something was not finite."""
NAN_ROW = 1024
"""Row of `LOGITS` that is not finite."""
_MASK = (1 << 64) - 1


def follow(state: int, token: int, position: int) -> int:
    """What is kept of a token in the KV cache, where `state` is kept of the token before it."""
    if state == NAN or token == NOT_FINITE:
        return NAN
    state = (state * 6364136223846793005 + (token + 1) * 1442695040888963407 + position) & _MASK
    return state ^ state >> 29


def row_of(state: int, seen: int, token: int) -> int:
    """Row of `LOGITS` behind a token with this state, where `seen` is the sum of all states that the token sees.

    Often the token alone decides, so that answers repeat themselves and drafts come true.
    """
    if state == NAN:
        return NAN_ROW
    mixed = (state ^ seen * 0xD6E8FEB86659FD93) & _MASK
    mixed ^= mixed >> 32
    return token if mixed & 7 < 5 else mixed >> 3 & 1023


def _logits() -> "numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float32]]":
    logits = (
        numpy.random.default_rng(7).normal(scale=2.0, size=(NAN_ROW + 1, VOCABULARY)).astype(numpy.float32)
    )
    logits[:, [0, POISON, NOT_FINITE]] = -10_000.0
    logits[:VOCABULARY, EOS] -= 3.0  # where the token decides, an end would cut off every answer with it
    logits[NAN_ROW] = numpy.nan
    return logits


LOGITS = _logits()
"""(rows, vocabulary)"""
LIKELIEST: list[int] = [*LOGITS[:NAN_ROW].argmax(axis=-1).tolist(), -1]
"""The likeliest token of each row; -1 where it is not finite."""
_PLAIN = LOGITS.astype(numpy.float64)
LOG_PROBABILITIES = _PLAIN - numpy.log(numpy.exp(_PLAIN).sum(axis=-1, keepdims=True))
"""(rows, vocabulary)"""


class Prefix:
    """A sequence of tokens as the model sees it; what a KV cache should amount to."""

    def __init__(self, tokens: list[int]) -> None:
        self._state, self._seen, self._length, self._token = BEGIN, 0, 0, 0
        for token in tokens:
            self.append(token)

    def append(self, token: int) -> None:
        """One token more."""
        self._state = follow(self._state, token, self._length)
        self._seen = self._seen + self._state & _MASK
        self._length += 1
        self._token = token

    def copy(self) -> "Prefix":
        """One that grows by itself."""
        other = Prefix([])
        other._state, other._seen = self._state, self._seen
        other._length, other._token = self._length, self._token
        return other

    @property
    def row(self) -> int:
        """Row of `LOGITS` for the token that comes next."""
        return row_of(self._state, self._seen, self._token)
