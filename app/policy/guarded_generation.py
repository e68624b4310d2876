"""GuardedGeneration: a generation whose answers are shown as far as the policy lets them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.policy.judge import Call
from app.policy.policy import Policy
from app.services.answer import Piece
from app.services.generation import Generation


class GuardedGeneration(Generation):
    """What the rules do to each answer of another generation, which it takes over.

    An answer that a rule refuses ends where the rule found something, with `content_filter`; its sequence is aborted.
    With rules that judge whole answers, all that there is to show is one last batch.
    """

    def __init__(self, inner: Generation, policy: Policy, call: Call) -> None:
        super().__init__(inner.answers, inner.n, inner.prompt_tokens, inner.observation)
        self._policy = policy
        self._call = call
        self._guards = [policy.guarded_text() for _ in inner.answers]
        self._holds = bool(policy.verdicts)
        self._keeps = bool(policy.verdicts or policy.reviews)
        self._shown = [""] * len(inner.answers)

    async def pieces(self) -> AsyncGenerator[list[Piece], None]:
        """See `Generation.pieces`.

        Raises:
            ReparteeError: beside those, an answer could not be judged.
        """
        async with aclosing(super().pieces()) as batches:
            async for batch in batches:
                for piece in batch:
                    self._guard(piece)
                if not self._holds:
                    yield batch
        if self._holds:
            yield await self._judged()
        for rule in self._policy.reviews:
            self._policy.review(rule, "output", self._shown, self._call)

    def _guard(self, piece: Piece) -> None:
        guard, answer = self._guards[piece.index], self.answers[piece.index]
        piece.text = guard.feed(piece.text, last=piece.finish_reason is not None)
        if guard.refused:
            answer.refuse()
            piece.finish_reason = answer.finish_reason
        if piece.finish_reason is not None:
            for rule in guard.acted:
                self._policy.note(rule, "output", self._call.observation)
        if self._keeps:
            self._shown[piece.index] += piece.text

    async def _judged(self) -> list[Piece]:
        texts = self._shown
        for rule in self._policy.verdicts:
            for index, acts in enumerate(await self._policy.judge(rule, "output", texts, self._call)):
                if acts and rule.action == "refuse":
                    texts[index] = ""
                    self.answers[index].refuse()
                elif acts:
                    texts[index] = f"[{rule.name}]"
        self._note_end()
        return [Piece(i, text, [], self.answers[i].finish_reason) for i, text in enumerate(texts)]
