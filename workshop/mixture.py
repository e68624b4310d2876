"""The training stream: for every step one batch of conversations and one of decisions."""

import random
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from workshop.conversations import Conversations
from workshop.decisions import Decisions
from workshop.deck import Decks
from workshop.encode import Encoder, Tree
from workshop.packing import Batch, pack

SHORT_ROW, LONG_ROW = 512, 1024
# Whole label lists cost most and teach least at first; their turn is every fourth step.
LONG_EVERY = 4


@dataclass(frozen=True)
class Shares:
    """Tokens of each part in one step; a multiple of the row lengths."""

    conversations: int = 1024
    decisions: int = 1024


class Mixture:
    """Draws batches; the stream is a function of the seed, and `state` lets it continue anywhere."""

    def __init__(self, data: Path, tokenizer: Tokenizer, seed: int = 1, shares: Shares | None = None) -> None:
        self._decks = Decks()
        self._encoder = Encoder(tokenizer)
        self._conversations = Conversations(data, self._decks)
        self._decisions = Decisions(data, self._encoder, self._decks)
        self._seed, self._shares = seed, shares or Shares()
        self._waiting: list[Tree] = []

    def batches(self, step: int) -> dict[str, Batch]:
        """The batches of a step, by the name of their part."""
        rng = random.Random(f"{self._seed}:{step}")
        rows = self._shares.conversations // SHORT_ROW
        parts = {"chat": pack([self._chat_row(rng) for _ in range(rows)], SHORT_ROW)}
        if step % LONG_EVERY == LONG_EVERY - 1:
            long = [self._decisions.long(rng, LONG_ROW) for _ in range(self._shares.decisions // LONG_ROW)]
            parts["long"] = pack(long, LONG_ROW)
        else:
            short = [
                self._decisions.short(rng, SHORT_ROW) for _ in range(self._shares.decisions // SHORT_ROW)
            ]
            parts["short"] = pack(short, SHORT_ROW)
        return parts

    def _chat_row(self, rng: random.Random) -> list[Tree]:
        """Conversations that fill a row: those that do not fit any more wait for the next one."""
        row, left, misses = list[Tree](), SHORT_ROW, 0
        waiting, self._waiting = self._waiting, []
        while misses < 6:
            tree = waiting.pop(0) if waiting else self._encoder.conversation(self._conversations.draw(rng))
            if len(tree) <= left:
                row.append(tree)
                left -= len(tree)
            elif len(tree) <= SHORT_ROW:
                self._waiting.append(tree)
                misses += 1
        self._waiting += waiting
        return row

    def state(self) -> dict[str, object]:
        """What a resumed run needs to draw the same batches."""
        return {"decks": self._decks.state(), "waiting": [tree.trunk for tree in self._waiting]}

    def restore(self, state: dict[str, object]) -> None:
        """Continues where `state` was taken."""
        decks, waiting = state["decks"], state["waiting"]
        assert isinstance(decks, dict) and isinstance(waiting, list)
        self._decks.restore(decks)
        self._waiting = [Tree(piece) for piece in waiting]
