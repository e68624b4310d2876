"""Detectors: what a rule looks for in a text itself, without asking the model."""

from typing import Protocol

from app.masking.growing import find_settled
from app.masking.mask import Span, find
from app.policy.rules import Rule
from app.policy.words import WordList


class Detector(Protocol):
    """Finds what a rule is about."""

    def scan(self, text: str, before: str, *, last: bool) -> tuple[list[Span], int]:
        """What is in a text up to a place, from the left and without overlaps, and that place.

        Args:
            before: some of the characters that stood before the text, of which all was settled.
            last: nothing will be appended, and all is settled.
        """


class PersonalData:
    """Personal data of some kinds."""

    def __init__(self, kinds: frozenset[str]) -> None:
        self._kinds = kinds

    def scan(self, text: str, before: str, *, last: bool) -> tuple[list[Span], int]:
        """See `Detector.scan`."""
        spans, settled = (find(text), len(text)) if last else find_settled(text)
        return [span for span in spans if span.name in self._kinds], settled


def detector_of(rule: Rule) -> Detector:
    """The detector of a rule that is no question."""
    return WordList(rule.words, rule.name) if rule.words else PersonalData(rule.personal)
