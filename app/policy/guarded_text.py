"""GuardedText: a growing text as its reader may see it."""

from collections.abc import Sequence

from app.masking.growing import MOST_HELD
from app.masking.mask import replace
from app.policy.detectors import CONTEXT, Detector
from app.policy.rules import Rule


class GuardedText:
    """One answer under the rules in their order, each of which sees what those before it let through.

    What may belong to something forbidden is held back until that is decided: mostly a word, of capitals or digits
    `LONGEST_SPACED` characters and a word. A word may have `MOST_HELD` characters, and what came with them.

    Attributes:
        acted: the rules that found something.
        refused: one of them ended the text.
    """

    def __init__(self, rules: Sequence[tuple[Rule, Detector]]) -> None:
        self._steps = [_Step(rule, detector) for rule, detector in rules]
        self.refused = False

    @property
    def acted(self) -> list[Rule]:
        return [step.rule for step in self._steps if step.acted]

    def feed(self, text: str, *, last: bool) -> str:
        """What may be shown now that so much more has come; with `last`, nothing will."""
        for step in self._steps:
            text = step.feed(text, last=last)
            last = last or step.refused
            self.refused = self.refused or step.refused
        return text


class _Step:
    """One rule on one text."""

    def __init__(self, rule: Rule, detector: Detector) -> None:
        self.rule = rule
        self._detector = detector
        self.acted = self.refused = False
        self._held = self._before = ""

    def feed(self, text: str, *, last: bool) -> str:
        held = self._held + text
        spans, settled = self._detector.scan(held, self._before, last=last)
        self.acted = self.acted or bool(spans)
        self._held, self._before = held[settled:], (self._before + held[:settled])[-CONTEXT:]
        if self.rule.action == "flag":
            return text
        if len(self._held) > MOST_HELD:  # one thing longer than any that is to be kept in mind
            self.acted = self.refused = True
        if self.rule.action == "refuse" and spans:
            self.refused = True
            return held[: spans[0].start]
        return replace(held[:settled], spans)
