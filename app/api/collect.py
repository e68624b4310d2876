"""Collects the pieces of a generation into whole answers."""

from contextlib import aclosing

from app.services.answer import Piece
from app.services.generation import Generation


async def collect(generation: Generation) -> list[Piece]:
    """One piece for each answer, in order: its whole text, all its log-probabilities, its finish reason.

    Raises:
        DeadlineExceeded, EngineFailure: as `Generation.pieces`; nothing of a failed request is shown.
    """
    texts = [list[str]() for _ in range(generation.size)]
    answers = [Piece(index) for index in range(generation.size)]
    async with aclosing(generation.pieces()) as batches:
        async for batch in batches:
            for piece in batch:
                texts[piece.index].append(piece.text)
                answers[piece.index].logprobs += piece.logprobs
                answers[piece.index].finish_reason = piece.finish_reason
    for answer, parts in zip(answers, texts, strict=True):
        answer.text = "".join(parts)
    return answers
