"""What is to be masked in a text that still grows, as far as nothing that follows can change it."""

import re

from app.masking.mask import Span, find, plain_form

MOST_HELD = 8_192
"""A run of so many characters without a break is parted all the same: only keys are longer than what is then kept."""
KEPT = 1_024

_BREAK = re.compile(
    r"[^0-9A-Za-z._%+@:/~=\\() -]"  # stands in none of the kinds but a private key
    r"|[a-z](?<!earer)(?<!asic) "  # only digits and capitals go on behind a space, and what follows `Bearer`
    r"| (?<!earer )(?<!asic )(?=[a-z])"
)
"""Its end parts a text into two that hold nothing in common; what spans it nevertheless is seen to do so."""


def find_settled(text: str) -> tuple[list[Span], int]:
    """What `find` finds in the text up to a place, and that place: both stand, whatever is appended.

    The place is the last break, or the start of what spans it; most of the time one word is left behind it.
    """
    plain, positions = plain_form(text)
    cut = max((match.end() for match in _BREAK.finditer(plain)), default=0)
    if len(plain) > MOST_HELD:
        cut = max(cut, len(plain) - KEPT)
    if not cut:
        return [], 0
    if positions is not None:
        cut = positions[cut] if cut < len(positions) else len(text)
    spans = find(text)
    for start, end, _ in spans:
        if start < cut and (end > cut or end == len(text)):
            cut = start
    return [span for span in spans if span.start < cut], cut
