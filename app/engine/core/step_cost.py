"""StepCost: what a decode step takes, and what another row adds to it, as measured while serving."""

from dataclasses import dataclass

_KEEP = 0.98
"""Weight of a measurement after one more of its kind: some fifty count."""
_PRIOR_WEIGHT = 2.0
_OUTLIER = 2.0
"""A step that takes so many times what was expected was held up by something else, and counts as so much."""


@dataclass(slots=True)
class _Line:
    """A straight line through decaying measurements of seconds over added rows."""

    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    base: float = 0.0
    row: float = 0.0

    def add(self, rows: float, seconds: float, sequences: int) -> None:
        if self.weight > 3:
            seconds = min(seconds, _OUTLIER * (self.base + self.row * rows))
        self.weight = self.weight * _KEEP + 1
        self.x = self.x * _KEEP + rows
        self.y = self.y * _KEEP + seconds
        self.xx = self.xx * _KEEP + rows * rows
        self.xy = self.xy * _KEEP + rows * seconds
        mean = self.y / self.weight
        # Before rows were added, and again when that is long ago: one more costs half of what a sequence does.
        prior = mean / (2 * sequences)
        spread = self.xx - self.x * self.x / self.weight
        together = self.xy - self.x * mean
        self.row = max(0.0, (together + _PRIOR_WEIGHT * prior) / (spread + _PRIOR_WEIGHT))
        self.base = max(0.0, mean - self.row * self.x / self.weight)


class StepCost:
    """Seconds of decode steps as `base + row * (added rows)`, for each number of sequences apart; and what is around.

    Apart, because a sequence costs more than a row: its own K and V are read, and it is scheduled and answered.
    """

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}
        self._around: dict[int, float] = {}

    def measured(self, sequences: int, rows: float, seconds: float) -> None:
        """A round of so many sequences took so long, with `rows` rows more than sequences."""
        self._lines.setdefault(sequences, _Line()).add(rows, seconds, sequences)

    def called(self, sequences: int, seconds: float) -> None:
        """From one step of so many sequences to the next so long was spent on other than the model."""
        before = self._around.get(sequences, seconds)
        self._around[sequences] = 0.9 * before + 0.1 * min(seconds, _OUTLIER * before)

    def around(self, sequences: int) -> float:
        """Seconds that a step of so many sequences takes beside its rounds, however many those are."""
        return self._around.get(sequences, 0.0)

    def of(self, sequences: int) -> tuple[float, float] | None:
        """(base, row) of a round of so many sequences; None before the first was measured."""
        line = self._lines.get(sequences)
        return (line.base, line.row) if line is not None else None
