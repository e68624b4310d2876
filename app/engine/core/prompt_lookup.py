"""PromptLookup: where the last tokens of a sequence stood before in the sequence itself."""

from collections.abc import Sequence

WINDOW = 3
"""Tokens that must be equal before anything is foretold. Two are often equal by chance."""
_LONGEST = 16
_TOKEN_BITS = 24
_KEY = (1 << WINDOW * _TOKEN_BITS) - 1


class PromptLookup:
    """The last place of each run of `WINDOW` tokens in a sequence that only grows.

    After Saxena's prompt lookup decoding, with an index instead of a search. Keys are the tokens side by side in one
    integer: a tuple for each would give the garbage collector work.
    """

    def __init__(self) -> None:
        self._behind: dict[int, int] = {}
        self._key = 0
        self._indexed = 0

    def find(self, tokens: Sequence[int]) -> int:
        """Index of the token that came behind the last tokens when they stood in `tokens` before; -1 without such.

        Args:
            tokens: those of the last call, and more.
        """
        behind, key = self._behind, self._key
        for end in range(self._indexed, len(tokens)):
            behind[key] = end
            key = (key << _TOKEN_BITS | tokens[end]) & _KEY
        self._key, self._indexed = key, len(tokens)
        return behind.get(key, -1)


def match_length(tokens: Sequence[int], index: int) -> int:
    """How many tokens before `index` equal the last ones, up to a bound."""
    length, most = 0, min(index, _LONGEST)
    while length < most and tokens[index - 1 - length] == tokens[-1 - length]:
        length += 1
    return length
