"""What was decided, and how surely. The labels' texts are the clients' own and without bound: never exported."""

from collections.abc import Iterable
from typing import get_args

from app.metric_families.registry import Registry
from app.observation import Decision, DecisionType

DECISION_TYPES: tuple[DecisionType, ...] = get_args(DecisionType)
POSITIONS = (*map(str, range(1, 9)), "9+")
LOW_MASS = 0.5
"""Below this label mass the model would rather have answered something else, and a front end should abstain."""


class DecisionFamilies:
    """Answers of decisions: by type, by the position of the chosen option, by mass and confidence."""

    def __init__(self, registry: Registry) -> None:
        self._decisions = registry.counters(
            "decisions", "Questions answered, by their type.", ("type",), DECISION_TYPES
        )
        self._positions = registry.counters(
            "decision_answers",
            "Answers by the position of the likeliest option in the request's own list.",
            ("position",),
            POSITIONS,
        )
        self._mass = registry.histogram(
            "decision_label_mass", "Probability of all labels of a question together, 0 to 1."
        )
        self._confidence = registry.histogram(
            "decision_confidence", "How far the answer stands above chance, 0 to 1."
        )
        self._low_mass = registry.counter(
            "decision_low_mass", "Answers with a label mass below 0.5, of which a front end would abstain."
        )

    def observe(self, decisions: Iterable[Decision]) -> None:
        """The answers of one request."""
        for decision in decisions:
            self._decisions[decision.type].inc()
            self._mass.observe(decision.label_mass)
            self._confidence.observe(decision.confidence)
            if decision.label_mass < LOW_MASS:
                self._low_mass.inc()
            if decision.position is not None:
                self._positions[POSITIONS[min(decision.position, len(POSITIONS)) - 1]].inc()
