"""What a customer-service front end asks: the mix of every load, by locust and by the asyncio client alike."""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from app.bench.ask import CHAT_PATH, Ask
from app.bench.questions import question
from loadtests.prompts import LABELS

SYSTEM = (
    "You are the assistant of a shop for clothes. Be brief and friendly. Orders leave a day after they were placed "
    "and take two to four days. Returns are free within thirty days. Refunds go back the way the payment came."
)
"""One text for every conversation, as front ends have it, so that a prefix cache may serve it."""
_FOLLOW_UPS = (
    "When will it arrive?",
    "That is too late for me. What can I do?",
    "Thank you. Can you send me a confirmation?",
)
_STORY = (
    "I ordered two shirts and a coat, the parcel came without the coat, and nobody answered my last message. "
)
_LEAVES_AFTER = 5
KINDS = {
    "short chat": 30,
    "long chat": 10,
    "conversation": 25,
    "leaves": 5,
    "classify": 15,
    "decisions": 15,
}
"""What a front end asks, with its weight."""


@dataclass
class FrontEnd:
    """Draws requests; one for all users, because a conversation goes on whoever sends its next turn.

    Attributes:
        waiting: conversations whose last turn was answered.
    """

    model: str
    chooser: random.Random
    waiting: deque[list[dict[str, str]]] = field(default_factory=deque)

    def next_ask(self) -> Ask:
        """The next request of the mix."""
        (kind,) = self.chooser.choices(list(KINDS), list(KINDS.values()))
        return self.ask(kind)

    def ask(self, kind: str) -> Ask:
        """A request of a kind of `KINDS`."""
        asked = question(self.chooser)
        match kind:
            case "short chat":
                return self._chat(kind, [_said("user", asked)], 64)
            case "long chat":
                return self._chat(kind, [_said("user", f"{asked} {_STORY * 6}")], 256)
            case "leaves":
                return self._chat(kind, [_said("user", asked)], 256, _LEAVES_AFTER)
            case "conversation":
                return self._turn(asked)
            case "classify":
                body: dict[str, Any] = {"model": self.model, "input": asked, "labels": LABELS}
                return Ask(kind, "decision", "/classify", body)
            case "decisions":
                body = {"model": self.model, "input": asked, "questions": _QUESTIONS}
                return Ask(kind, "decision", "/decisions", body)
        raise ValueError(f"{kind} is not asked here")

    def _chat(self, kind: str, messages: list[dict[str, str]], tokens: int, leave: int | None = None) -> Ask:
        return Ask(
            kind, "chat", CHAT_PATH, {"model": self.model, "messages": messages, "max_tokens": tokens}, leave
        )

    def _turn(self, asked: str) -> Ask:
        if self.waiting:
            messages = self.waiting.popleft()
            asked = _FOLLOW_UPS[len(messages) // 2 - 1]
        else:
            messages = [_said("system", SYSTEM)]
        messages.append(_said("user", asked))

        def answered(text: str | None) -> None:
            if text and len(messages) // 2 <= len(_FOLLOW_UPS):
                self.waiting.append([*messages, _said("assistant", text)])

        body = {"model": self.model, "messages": messages, "max_tokens": 96}
        return Ask("conversation", "chat", CHAT_PATH, body, answered=answered)


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


_QUESTIONS = [
    {"type": "predicate", "name": "is_angry", "instructions": "Is the customer angry?"},
    {
        "type": "choice",
        "name": "intent",
        "instructions": "What is it about?",
        "choices": [{"value": "refund"}, {"value": "delivery"}, {"value": "account"}, {"value": "order"}],
    },
    {
        "type": "score",
        "name": "urgency",
        "instructions": "How urgent is it?",
        "levels": [{"label": "low"}, {"label": "medium"}, {"label": "high"}],
    },
]
