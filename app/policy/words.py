"""WordList: forbidden words and phrases in a text, however they are written."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from app.masking.mask import Span

_SPACES = re.compile(r"[\t-\r\x1c-\x1f]|  ")
_END = ""
"""Key of a node at which a word ends."""

Node = dict[str, "Node"]


class WordList:
    """Finds whole words; between characters of scripts that put no spaces between words, any place is a border.

    Text is compared without regard to case, compatibility forms (full-width letters), characters of no width and the
    amount of white space. Linear in the text, whatever the number of words.

    Args:
        words: none of them blank, see `is_blank`.
        name: of the spans.
    """

    def __init__(self, words: Iterable[str], name: str) -> None:
        self._name = name
        self._root: Node = {}
        for word in words:
            node = self._root
            for character in fold(word)[0].strip():
                node = node.setdefault(character, {})
            node[_END] = {}

    def scan(self, text: str, before: str, *, last: bool) -> tuple[list[Span], int]:
        """See `Detector.scan`."""
        folded, positions = fold(text)
        spans = list[Span]()
        index, left = 0, fold(before)[0][-1:]
        while index < len(folded):
            if folded[index] not in self._root or _joined(left, folded[index]):
                end = 0
            elif (end := self._longest(folded, index, last=last)) < 0:
                return spans, positions[index]
            elif end:
                spans.append(Span(positions[index], positions[end - 1] + 1, self._name))
            index = end or index + 1
            left = folded[index - 1]
        return spans, len(text)

    def _longest(self, folded: str, start: int, *, last: bool) -> int:
        """End of the longest word that starts there; 0 if none does, below 0 if what follows the text may decide it."""
        node, end, best = self._root, start, 0
        while end < len(folded) and folded[end] in node:
            node = node[folded[end]]
            end += 1
            if _END in node and not _joined(folded[end - 1], folded[end : end + 1]):
                best = end
        goes_on = len(node) > (_END in node) or _is_spaced(folded[end - 1])
        return -1 if end == len(folded) and goes_on and not last else best


def is_blank(word: str) -> bool:
    """Whether nothing of a word can be seen."""
    return not fold(word)[0].strip()


def fold(text: str) -> tuple[str, Sequence[int]]:
    """The text as it is compared, and where each of its characters comes from.

    Each character is folded by itself, so that a text in parts folds like the whole.
    """
    if text.isascii() and not _SPACES.search(text):
        return text.lower(), range(len(text))
    characters, positions = list[str](), list[int]()
    for index, character in enumerate(text):
        for part in _folded(character):
            if part != " " or characters[-1:] != [" "]:
                characters.append(part)
                positions.append(index)
    return "".join(characters), positions


@lru_cache(maxsize=8_192)
def _folded(character: str) -> str:
    if unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f":
        return ""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return "".join(" " if part.isspace() else part for part in plain)


def _joined(left: str, right: str) -> bool:
    """Whether two neighbours belong to one word."""
    return _is_spaced(left) and _is_spaced(right)


@lru_cache(maxsize=8_192)
def _is_spaced(character: str) -> bool:
    """Whether it is a letter, digit or mark of a script with spaces between its words."""
    if not (character < "\u0e00" or "\u1e00" <= character < "\u2000"):
        return False
    return character != "" and unicodedata.category(character)[0] in "LMN"
