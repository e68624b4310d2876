"""What is to be masked in a text that still grows, as far as nothing that follows can change it."""

import re

from app.masking.kinds import DOMAIN, LONGEST_DOMAIN, LONGEST_NAME, NAME
from app.masking.mask import Span, find, plain_form

MOST_HELD = 8_192
"""A run of so many characters without a break is parted all the same: only keys are longer than what is then kept."""
KEPT = 1_024
LONGEST_SPACED = 128
"""Characters in which all that has spaces is seen to be what it is: an account has 64 at most. Keys and addresses have
no space, but for the one behind `Bearer` and the first line of a private key."""

_BREAK = re.compile(
    r"[^0-9A-Za-z._%+@:/~=\\() 转-]"  # stands in none of the kinds but a private key and an address with a name
    r"|[a-z](?<!earer)(?<!asic) "  # only digits and capitals go on behind a space, and what follows `Bearer`
    r"| (?<!earer )(?<!asic )(?=[a-z])"
)
"""Its end parts a text into two that hold nothing in common; what spans it nevertheless is seen to do so."""
_SPACE = re.compile(r" (?<!earer )(?<!asic )(?:(?<![0-9] )|(?!0[0-9]))")
"""Its end parts a text of capitals or digits, if enough follows. Behind a digit no landline begins: what was there must
be seen where one might."""
_NAME, _DOMAIN = re.compile(NAME, re.DOTALL), re.compile(DOMAIN)
_MOST_OPEN = 16
"""Addresses in a row without anything between: nobody writes two, and a bound keeps the time short."""


def find_settled(text: str) -> tuple[list[Span], int]:
    """What `find` finds in the text up to a place, and that place: both stand, whatever is appended.

    The place is the last break, or the start of what spans it; most of the time one word is left behind it, or four
    Chinese characters, which an `@` may follow. Behind capitals and digits a space is a break when `LONGEST_SPACED`
    characters have followed it.
    """
    plain, positions = plain_form(text)
    parted = len(plain) if plain.isascii() else _open_address(plain)
    spaced = min(parted, len(plain) - LONGEST_SPACED)
    cut = max(_last_end(_BREAK, plain, parted), _last_end(_SPACE, plain, spaced))
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


def _last_end(pattern: re.Pattern[str], text: str, most: int) -> int:
    """Where the last match ends that ends at a place or before it; 0 if none does."""
    return max((match.end() for match in pattern.finditer(text) if match.end() <= most), default=0)


def _open_address(plain: str) -> int:
    """Where what may become an address with Chinese characters begins at the end of a text; its length if none does.

    The end may be a name or a domain, and the name of one address may be the domain of another.
    """
    start = end = len(plain)
    for _ in range(_MOST_OPEN):
        name = _NAME.search(plain, max(0, end - LONGEST_NAME), end)
        start = name.start() if name else end
        at = plain.rfind("@", max(0, start - LONGEST_DOMAIN), start)
        if at < 0 or not _DOMAIN.fullmatch(plain, at + 1, start):
            break
        end = at
    return start
