"""Oracle: drafts out of what will be said, with errors, so that drafts of all kinds are accepted, cut and refused."""

import random
from collections.abc import Mapping

from app.engine.core.ahead import Draft, Fate
from app.engine.core.sequence import Sequence
from simulation.reader import Reader
from simulation.virtual_model import WORDS


class Oracle:
    """In the place of a Speculator.

    Args:
        readers: who knows what will be said, by request.
        errors: share of wrong tokens.
    """

    def __init__(self, readers: Mapping[int, Reader], errors: float, chooser: random.Random) -> None:
        self._readers = readers
        self._errors = errors
        self._chooser = chooser

    def drafts(self, sequences: list[Sequence], room: int, rounds: int) -> dict[int, Draft]:
        """Drafts for some of them; those of a burst may be longer than one step's."""
        drafts = dict[int, Draft]()
        chooser = self._chooser
        for sequence in sequences:
            if chooser.random() < 0.3:
                continue
            ahead = self._readers[sequence.id].answer.tokens[sequence.num_generated :][
                : chooser.randrange(1, 9)
            ]
            tokens = [
                chooser.choice(WORDS) if chooser.random() < self._errors else token
                for token in [*ahead, *chooser.choices(WORDS, k=chooser.randrange(3))]
            ]
            widths = list[int]()
            while sum(widths) + len(widths) < len(tokens):
                widths.append(chooser.randrange(min(4, room) + 1))
            if tokens and widths:
                room -= widths[0]
                drafts[sequence.id] = Draft(tuple(tokens), tuple(widths))
        return drafts

    def look_again(self, sequences: int, rounds: int) -> int:
        """No reason to cut a burst short."""
        return rounds

    def verified(self, sequence: Sequence, fate: Fate) -> None:
        """Nothing is learned."""

    def forget(self, sequence: Sequence) -> None:
        """Nothing is kept."""
