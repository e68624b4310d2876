"""Detectors: what a rule looks for in a text itself, without asking the model."""

import re
from typing import Protocol

from app.masking.growing import find_settled
from app.masking.mask import Span, find, plain_form
from app.policy.rules import Rule
from app.policy.words import WordList

CONTEXT = 16
"""Characters before a text that a detector is shown, and in which it looks for what leads to something."""
_JOINED_LANDLINE = re.compile("0[1-9][0-9]{9,10}(?:-[0-9]{1,5})?")
"""A landline of China without a sign behind its area code."""
_TELEPHONE = re.compile(
    "电话|電話|座机|座機|固话|固話|传真|傳真|phone|fax|(?<![a-z])tel(?![a-z])", re.IGNORECASE
)


class Detector(Protocol):
    """Finds what a rule is about."""

    def scan(self, text: str, before: str, *, last: bool) -> tuple[list[Span], int]:
        """What is in a text up to a place, from the left and without overlaps, and that place.

        Args:
            before: the last `CONTEXT` characters that stood before the text, or all; all of them were settled.
            last: nothing will be appended, and all is settled.
        """


class PersonalData:
    """Personal data of some kinds.

    A log line may lose an order number that looks like a joined landline; a request must not be refused for it. So it
    is one only where a word before it says so.
    """

    def __init__(self, kinds: frozenset[str]) -> None:
        self._kinds = kinds

    def scan(self, text: str, before: str, *, last: bool) -> tuple[list[Span], int]:
        """See `Detector.scan`."""
        spans, settled = (find(text), len(text)) if last else find_settled(text)
        return [span for span in spans if span.name in self._kinds and _is_meant(span, text, before)], settled


def _is_meant(span: Span, text: str, before: str) -> bool:
    """Whether it is more than a number in which a joined landline may be seen."""
    if span.name != "phone" or not _JOINED_LANDLINE.fullmatch(plain_form(text[span.start : span.end])[0]):
        return True
    leading = (before + text[: span.start])[-CONTEXT:]
    return _TELEPHONE.search(plain_form(leading)[0]) is not None


def detector_of(rule: Rule) -> Detector:
    """The detector of a rule that is no question."""
    return WordList(rule.words, rule.name) if rule.words else PersonalData(rule.personal)
