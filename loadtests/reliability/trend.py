"""Whether a series of readings grows, or only moves: Sen's slope and Kendall's tau, which outliers do not sway."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

_SURE = 0.5
"""Kendall's tau from which a series is said to rise: three of four pairs of readings do."""
_FEWEST = 5
"""Readings that tell a slope from noise."""


@dataclass(frozen=True)
class Allowed:
    """How much a quantity may move without being called a leak: an amount, and a share of its first reading."""

    amount: float
    share: float = 0.0

    def over(self, base: float) -> float:
        """The greater of the two."""
        return max(self.amount, self.share * base)


def slope(values: Sequence[float]) -> float:
    """Median slope of all pairs of readings, by reading (Sen)."""
    return statistics.median((later - earlier) / (j - i) for (i, earlier), (j, later) in _pairs(values))


def tau(values: Sequence[float]) -> float:
    """Pairs of readings that rise less those that fall, as a share of all (Kendall)."""
    signs = [(later > earlier) - (later < earlier) for (_, earlier), (_, later) in _pairs(values)]
    return sum(signs) / len(signs)


def leak(values: Sequence[float], allowed: Allowed) -> str | None:
    """What is wrong with readings that were taken at equal intervals, each in the same state; None where nothing is.

    They leak where they rise steadily, by more than is allowed from the first to the last, or where the last ones are
    above the first ones by three times of that, however they came there.
    """
    limit = allowed.over(values[0])
    if len(values) >= _FEWEST:
        grown = slope(values) * (len(values) - 1)
        if grown > limit and tau(values) >= _SURE:
            return f"rises by {grown:.3g} in {len(values)} readings"
    third = max(1, len(values) // 3)
    step = statistics.median(values[-third:]) - statistics.median(values[:third])
    return f"does not come back: {step:.3g} more" if step > 3 * limit else None


def _pairs(values: Sequence[float]) -> list[tuple[tuple[int, float], tuple[int, float]]]:
    return list(combinations(enumerate(values), 2))
