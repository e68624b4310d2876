"""BatchGain: what more sequences at once gain, as measured while serving."""

_KEEP = 0.998
"""Weight of what was measured after one more step of its kind: some five hundred count."""
_ENOUGH_STEPS = 100.0
"""Steps before which nothing is said of a number of sequences."""
_SHARE = 3 / 4
"""Of the most that any number of sequences does: what is beyond costs each of them far more than it gains in all."""


class BatchGain:
    """Tokens a second for each power of two of sequences in a step, up to which more of them are worth their wait.

    A step takes a time of its own and more for each sequence, so throughput grows with the batch at first and hardly
    at its end, while the time of each answer goes on growing. Where that is depends on model, machine and load, and on
    what runs beside.
    """

    def __init__(self) -> None:
        self._tokens: dict[int, float] = {}
        self._seconds: dict[int, float] = {}
        self._steps: dict[int, float] = {}
        self._enough: int | None = None
        self._stale = False

    def measured(self, sequences: int, tokens: int, seconds: float) -> None:
        """A step of so many sequences computed so many tokens."""
        kind = sequences.bit_length()
        self._tokens[kind] = self._tokens.get(kind, 0.0) * _KEEP + tokens
        self._seconds[kind] = self._seconds.get(kind, 0.0) * _KEEP + seconds
        self._steps[kind] = self._steps.get(kind, 0.0) * _KEEP + 1
        self._stale = True

    def enough(self) -> int | None:
        """Sequences that do nearly as much as any number; None as long as more have always done more."""
        if self._stale:  # under a flood it is asked many times a step
            self._enough, self._stale = self._found(), False
        return self._enough

    def _found(self) -> int | None:
        rates = {kind: rate for kind in sorted(self._steps) if (rate := self._rate(kind))}
        least = _SHARE * max(rates.values(), default=0.0)
        return next(
            (2**kind - 1 for kind, rate in rates.items() if rate >= least and kind + 1 in rates), None
        )

    def _rate(self, kind: int) -> float | None:
        if self._steps.get(kind, 0.0) < _ENOUGH_STEPS:
            return None
        return self._tokens[kind] / self._seconds[kind]
