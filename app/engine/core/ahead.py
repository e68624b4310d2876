"""What a decoding sequence may say beyond its next token: drafts of it, and bursts of several tokens in one step."""

from dataclasses import dataclass

from app.engine.core.step_cost import StepCost

_HORIZON = 0.004
"""Seconds that a burst may take: its tokens are sent together, so nobody should see that they are."""
_MOST_ROUNDS = 16


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens that a sequence is expected to say.

    Attributes:
        tokens: in their order.
        widths: how many of them are worth to be computed at once; one more comes from the step itself, and then the
            next width counts. A step that is no burst takes the first alone.
    """

    tokens: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()

    @property
    def first(self) -> tuple[int, ...]:
        """The tokens of the first width."""
        return self.tokens[: self.widths[0]] if self.widths else ()


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a draft.

    Attributes:
        drafted: its tokens that were computed at once, of which `accepted` were right.
        tested: its tokens that were compared with what the sequence said, of which `matched` came true: all, or all but
            the last.
    """

    drafted: int
    accepted: int
    tested: int
    matched: int


@dataclass(frozen=True, slots=True)
class Burst:
    """A sequence's part in a step of several rounds, in each of which it says its likeliest tokens.

    Attributes:
        rounds: of the step, at most.
        most: tokens that the sequence may say, at least one; it has blocks for them.
        draft: what it will probably say.
    """

    rounds: int
    most: int
    draft: Draft = Draft()


def rounds_ahead(cost: StepCost, sequences: int, tokens: int) -> int:
    """Rounds of a burst of sequences that have so many tokens: what fits the horizon, one before any was measured."""
    measured = cost.of(sequences, tokens, burst=True)
    if measured is None or measured[0] <= 0.0:
        return 1
    return max(1, min(_MOST_ROUNDS, int(_HORIZON / measured[0])))
