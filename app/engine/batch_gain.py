"""BatchGain: what more sequences at once gain, as measured while serving."""

from dataclasses import dataclass

_KEEP = 0.998
"""Weight of what was measured after one more step of its kind: some five hundred count."""
_ENOUGH_STEPS = 100.0
"""Steps before which nothing is said of a number of sequences."""
_SHARE = 7 / 8
"""Of the most that any number of sequences does: what is beyond costs each of them far more than it gains in all."""
_GAIN = 1 / 2
"""Of what more sequences would do if each went on as fast as before."""


@dataclass(slots=True)
class _Kind:
    """Sums of steps; those of long ago fade."""

    steps: float = 0.0
    sequences: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0

    def add(self, sequences: int, tokens: int, seconds: float) -> None:
        self.steps = self.steps * _KEEP + 1
        self.sequences = self.sequences * _KEEP + sequences
        self.tokens = self.tokens * _KEEP + tokens
        self.seconds = self.seconds * _KEEP + seconds

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    def hardly_gains(self, more: "_Kind") -> bool:
        """Whether what more sequences add to the rate is less than half of what they add in number.

        Kinds that are seen in part only have means that lie close together, and so do their rates.
        """
        number = (more.sequences / more.steps) / (self.sequences / self.steps)
        return more.rate / self.rate - 1 < _GAIN * (number - 1)


class BatchGain:
    """Tokens a second for each power of two of sequences in a step, up to which more of them are worth their wait.

    A step takes a time of its own and more for each sequence, so throughput grows with the batch at first and hardly
    at its end, while the time of each answer goes on growing. Where that is depends on model, machine and load, and on
    what runs beside.
    """

    def __init__(self) -> None:
        self._kinds: dict[int, _Kind] = {}
        self._enough: int | None = None
        self._stale = False

    def measured(self, sequences: int, tokens: int, seconds: float) -> None:
        """A step of so many sequences computed so many tokens."""
        self._kinds.setdefault(sequences.bit_length(), _Kind()).add(sequences, tokens, seconds)
        self._stale = True

    def enough(self) -> int | None:
        """Sequences that do nearly as much as any number; None as long as more have always done more."""
        if self._stale:  # under a flood it is asked many times a step
            self._enough, self._stale = self._found(), False
        return self._enough

    def _found(self) -> int | None:
        seen = ((kind, one) for kind, one in sorted(self._kinds.items()) if one.steps >= _ENOUGH_STEPS)
        known = {kind: one for kind, one in seen if one.rate}
        least = _SHARE * max((one.rate for one in known.values()), default=0.0)
        return next(
            (
                int(2 ** (kind - 0.5))  # its middle, which its rate is of
                for kind, one in known.items()
                if one.rate >= least and (more := known.get(kind + 1)) and one.hardly_gains(more)
            ),
            None,
        )
