"""mask: text without phone numbers, identities, cards, addresses and keys."""

import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.masking.kinds import KINDS, NUMBER_KINDS

_MANY_DIGITS = re.compile(r"[0-9](?:[ .()-]{0,2}[0-9]){5}")
_ASCII = (
    {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if code != 0xFF1A}
    | dict.fromkeys((0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), ord(" "))
    | dict.fromkeys((*range(0x2010, 0x2016), 0x2212), ord("-"))
    | {
        code: ord(str(unicodedata.digit(chr(code))))
        for code in range(0x80, sys.maxunicode + 1)
        if chr(code).isdecimal()
    }
)
"""Full-width forms, digits of every script, spaces and dashes as ASCII writes them. The full-width colon stays: it is
Chinese punctuation, and would join what follows as IPv6 does."""
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]+"
)
"""Characters of no width: joiners, variants, and what marks the direction of a number that is copied from a contact."""


class Span(NamedTuple):
    """What stands in a text from `start` to `end`, and the name that takes its place."""

    start: int
    end: int
    name: str


def mask(text: str) -> str:
    """The text with `[phone]`, `[email]` and the like in place of what should not be written down.

    Order numbers, amounts and dates stay. Linear in the length of the text.
    """
    return replace(text, find(text))


def find(text: str) -> list[Span]:
    """What should not be written down, from the left; no two overlap.

    Looked for in a copy in ASCII's forms and without characters of no width.
    """
    plain, positions = plain_form(text)
    spans = list[Span]()
    for kind in (*KINDS, *NUMBER_KINDS) if _MANY_DIGITS.search(plain) else KINDS:
        if kind.hint in plain and (kind.in_ascii or not plain.isascii()):
            found = [Span(start, end, kind.name) for start, end in kind.find(plain)]
            plain = _with(plain, found, lambda span: "\0" * (span.end - span.start))
            spans += found
    spans.sort()
    if positions is None:
        return spans
    return [Span(positions[start], positions[end - 1] + 1, name) for start, end, name in spans]


def replace(text: str, spans: Sequence[Span]) -> str:
    """The text with their names in square brackets in place of the spans, which are in order."""
    return _with(text, spans, lambda span: f"[{span.name}]")


def _with(text: str, spans: Sequence[Span], instead: Callable[[Span], str]) -> str:
    """The text with something else in place of the spans, built once, however many they are."""
    if not spans:
        return text
    parts, done = list[str](), 0
    for span in spans:
        parts += text[done : span.start], instead(span)
        done = span.end
    return "".join([*parts, text[done:]])


def plain_form(text: str) -> tuple[str, list[int] | None]:
    """The text as it is searched, and where each of its characters stands in the original; None where at the same."""
    if text.isascii():
        return text, None
    text = text.translate(_ASCII)
    if not _INVISIBLE.search(text):
        return text, None
    positions, done = list[int](), 0
    for match in _INVISIBLE.finditer(text):
        positions += range(done, match.start())
        done = match.end()
    positions += range(done, len(text))
    return _INVISIBLE.sub("", text), positions
