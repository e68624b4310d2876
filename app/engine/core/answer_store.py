"""AnswerStore: past answers as contexts of a few tokens and what most often followed each of them."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

LONGEST = 4
"""Tokens of the longest context. Longer ones gained nothing with the embedded model's answers, and cost memory."""
SHORTEST = 2

_TOKEN_BITS = 24
_NOWHERE = -1

Integers = numpy.ndarray[Any, numpy.dtype[numpy.int64]]


class AnswerStore:
    """Contexts of `SHORTEST` to `LONGEST` tokens in one table; each row is a *node*.

    A node says which token most often followed its context, with what confidence, and which node is reached by it: a
    draft is a walk from node to node, without a search. Contexts are found from their last token backwards, one token
    more at a time, by binary search: a node's key is the node of the shorter context and the token before that.

    Args:
        tokens: token ids of the answers, one after another, each with the token that ends it.
    """

    def __init__(self, tokens: Sequence[int] | numpy.ndarray[Any, Any]) -> None:
        ids = numpy.asarray(tokens, dtype=numpy.int64)
        levels = _levels(ids) if len(ids) > LONGEST else []
        offsets = numpy.cumsum([0, *(len(level.keys) for level in levels)])
        self._keys = [array("q", level.keys.tobytes()) for level in levels]
        self._offsets: list[int] = offsets.tolist()
        follower: Integers = numpy.concatenate([[], *(level.follower for level in levels)]).astype(
            numpy.int64
        )
        sure = numpy.concatenate([[], *(level.confidence for level in levels)]).astype(numpy.float32)
        reached = levels[-1].node_of + offsets[-2] if levels else follower
        self._token = array("i", ids[follower].astype(numpy.int32).tobytes())
        self._confidence = array("f", sure.tobytes())
        self._next = array("i", reached[follower].astype(numpy.int32).tobytes())

    def __len__(self) -> int:
        """Contexts that are known."""
        return len(self._token)

    def find(self, tokens: Sequence[int]) -> int:
        """The node of the longest known context that ends `tokens`; -1 where none is known."""
        found, node, depth = _NOWHERE, 0, min(len(tokens), LONGEST)
        for length in range(1, depth + 1):
            key = node << _TOKEN_BITS | tokens[-length]
            if length < SHORTEST:
                node = key
                continue
            keys = self._keys[length - SHORTEST] if self._keys else ()
            node = bisect_left(keys, key)
            if node == len(keys) or keys[node] != key:
                break
            found = self._offsets[length - SHORTEST] + node
        return found

    def follow(self, node: int) -> tuple[int, float, int]:
        """The likeliest token behind a node's context, the confidence in it (0 to 1), and the node it leads to."""
        return self._token[node], self._confidence[node], self._next[node]


@dataclass(frozen=True, slots=True)
class _Level:
    """All contexts of one length.

    Attributes:
        keys: (contexts,), ascending.
        node_of: (tokens,), the context that ends with each token.
        follower: (contexts,), an index of the likeliest next token, as an occurrence of it behind this context.
        confidence: (contexts,).
    """

    keys: Integers
    node_of: Integers
    follower: Integers
    confidence: Any


def _levels(ids: Integers) -> list[_Level]:
    """Contexts by length. Those that would begin before the first token are taken to begin with its repetition."""
    levels = []
    node = ids
    for length in range(2, LONGEST + 1):
        earlier = numpy.concatenate([numpy.repeat(ids[:1], length - 1), ids[: 1 - length]])
        keys, node = numpy.unique(node << _TOKEN_BITS | earlier, return_inverse=True)
        levels.append(_Level(keys, node, *_followers(node, ids, len(keys))))
    return levels


def _followers(node: Integers, ids: Integers, count: int) -> tuple[Integers, Any]:
    """For each of `count` contexts, the likeliest next token (an index of `ids`) and the confidence in it."""
    pairs, first, times = numpy.unique(
        node[:-1] << _TOKEN_BITS | ids[1:], return_index=True, return_counts=True
    )
    context = pairs >> _TOKEN_BITS
    order = numpy.lexsort((times, context))
    last = numpy.flatnonzero(numpy.diff(context[order], append=-1))
    best = order[last]
    follower = numpy.zeros(count, dtype=numpy.int64)
    confidence = numpy.zeros(count)
    occurrences = numpy.bincount(node[:-1], minlength=count)
    chosen = context[best]
    follower[chosen] = first[best] + 1
    # One more than was seen: what was seen once is no certainty.
    confidence[chosen] = times[best] / (occurrences[chosen] + 1)
    return follower, confidence
