"""StepCost: what a decode step takes, and what another row adds to it, as measured while serving."""

from dataclasses import dataclass

_KEEP = 0.98
"""Weight of a measurement after one more of its kind: some fifty count."""
_ROW_PRIOR_WEIGHT = 2.0
_READ_PRIOR_WEIGHT = 1.0
_OUTLIER = 2.0
"""A step that takes so many times what was expected was held up by something else, and counts as so much."""
_TOKENS = 1000
"""Tokens of context are counted in thousands, so that the sums are of like size."""


@dataclass(slots=True)
class _Fit:
    """Least squares of a round's seconds over added rows `x` and attended tokens `z`; measurements decay.

    Sums are plain floats: arrays of three cost a single step of a small model 8 % of its time.
    """

    weight: float = 0.0
    x: float = 0.0
    z: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xz: float = 0.0
    zz: float = 0.0
    xy: float = 0.0
    zy: float = 0.0
    base: float = 0.0
    row: float = 0.0
    read: float = 0.0

    def add(self, sequences: int, rows: float, tokens: int, seconds: float) -> None:
        # A row attends to the context of its sequence, be it the sequence's next one or one that was added.
        attended = (1.0 + rows / sequences) * tokens / _TOKENS
        if self.weight > 3:
            expected = self.base + self.row * rows + self.read * attended
            seconds = min(seconds, max(_OUTLIER * expected, self.y / self.weight))
        self.weight = self.weight * _KEEP + 1
        self.x = self.x * _KEEP + rows
        self.z = self.z * _KEEP + attended
        self.y = self.y * _KEEP + seconds
        self.xx = self.xx * _KEEP + rows * rows
        self.xz = self.xz * _KEEP + rows * attended
        self.zz = self.zz * _KEEP + attended * attended
        self.xy = self.xy * _KEEP + rows * seconds
        self.zy = self.zy * _KEEP + attended * seconds
        self._solve(sequences)

    def _solve(self, sequences: int) -> None:
        mean_x, mean_z, mean = self.x / self.weight, self.z / self.weight, self.y / self.weight
        # Before rows were added, and again when that is long ago: one more costs half of what a sequence does.
        prior = mean / (2 * sequences)
        xx = self.xx - self.x * mean_x + _ROW_PRIOR_WEIGHT
        zz = self.zz - self.z * mean_z + _READ_PRIOR_WEIGHT
        xz = self.xz - self.x * mean_z
        xy = self.xy - self.x * mean + _ROW_PRIOR_WEIGHT * prior
        zy = self.zy - self.z * mean
        determinant = xx * zz - xz * xz
        self.row = (xy * zz - zy * xz) / determinant
        self.read = (zy * xx - xy * xz) / determinant
        self.base = mean - self.row * mean_x - self.read * mean_z

    def at(self, sequences: int, tokens: int) -> tuple[float, float]:
        """Seconds of a round without added rows, and of each of them, when the sequences have so many tokens."""
        read = self.read * tokens / _TOKENS
        return max(0.0, self.base + read), max(0.0, self.row + read / sequences)


class StepCost:
    """Seconds of decode steps for each number of sequences apart, bursts and single steps apart; and what is around.

    A round takes `base + row * (added rows) + read * (tokens that all rows attend to)`. The three are apart because
    drafts come late in an answer, when its context is long: otherwise attention would be laid at their door. Numbers of
    sequences are apart because a sequence costs more than a row: it is scheduled and answered. Bursts are, because a
    single step also samples, through the tensor library.
    """

    def __init__(self) -> None:
        self._fits: dict[tuple[int, bool], _Fit] = {}
        self._around: dict[tuple[int, bool], float] = {}

    def measured(self, sequences: int, rows: float, tokens: int, seconds: float, *, burst: bool) -> None:
        """A round of so many sequences took so long, with `rows` rows more than sequences, on `tokens` of context."""
        fit = self._fits.get((sequences, burst))
        if fit is None:
            fit = self._fits[sequences, burst] = _Fit()
        fit.add(sequences, rows, tokens, seconds)

    def called(self, sequences: int, seconds: float, *, burst: bool) -> None:
        """From one step of so many sequences to the next so long was spent on other than the model."""
        before = self._around.get((sequences, burst), seconds)
        self._around[sequences, burst] = 0.9 * before + 0.1 * min(seconds, _OUTLIER * before)

    def around(self, sequences: int, *, burst: bool) -> float:
        """Seconds that a step of so many sequences takes beside its rounds, however many those are."""
        return self._around.get((sequences, burst), 0.0)

    def of(self, sequences: int, tokens: int, *, burst: bool) -> tuple[float, float] | None:
        """(base, row) of a round of so many sequences with so many tokens; None before the first was measured."""
        fit = self._fits.get((sequences, burst))
        return fit.at(sequences, tokens) if fit is not None else None
