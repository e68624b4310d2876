"""The texts the tokenizer is trained on: what the mixture shows, drawn once with a fixed seed."""

import random
from collections.abc import Iterator
from pathlib import Path

from workshop import labelled
from workshop.conversations import Conversations
from workshop.deck import Decks
from workshop.labels import styled


def tokenizer_texts(data: Path, conversations: int = 14000) -> Iterator[str]:
    """Conversation turns, then labelled texts and label names in every spelling."""
    rng = random.Random(0)
    source = Conversations(data, Decks())
    for _ in range(conversations):
        for message in source.draw(rng):
            yield f"{message.role}\n{message.content}"
    sets = (
        labelled.banking77(data, "train", set()),
        labelled.clinc150(data, "train", set()),
        labelled.bitext_intents(data, "train", set()),
        labelled.hwu64(data, "train", set()),
        labelled.goemotions(data, "train"),
        labelled.nlupp(data),
    )
    for one in sets:
        yield from (example.text for example in one.examples[:12000])
        # Repeated, because label lists fill a good part of the prompts.
        yield from (
            " | ".join(styled(name, style) for name in one.names)
            for style in ("spaced", "snake", "title") * 40
        )
