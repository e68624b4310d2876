"""A customer's three turns about one order, each answer streamed, with the time to its first text.

    python -m loadtests.conversation --base-url http://127.0.0.1:8000

Only the first turn names the order: the later ones are answered from what was said before. Answers are greedy, so the
same service says the same again.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from loadtests.running_service import connect, parser

QUESTIONS = (
    "Hello, where is my order 48213957?",
    "When will it arrive?",
    "That is too late for me. Please cancel it.",
)
MAX_TOKENS = 200


class BrokenOff(Exception):
    """A stream ended without saying why."""


@dataclass(frozen=True)
class Turn:
    """A question, its answer, and how long its first text took in seconds."""

    question: str
    answer: str
    ttft: float


def converse(client: OpenAI, model: str, questions: Sequence[str] = QUESTIONS) -> Iterator[Turn]:
    """Ask the questions one after another, each with all turns before it.

    Raises:
        BrokenOff: an answer without text or without an end.
    """
    messages: list[ChatCompletionMessageParam] = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        turn = _ask(client, model, question, messages)
        messages.append({"role": "assistant", "content": turn.answer})
        yield turn


def _ask(client: OpenAI, model: str, question: str, messages: list[ChatCompletionMessageParam]) -> Turn:
    sent = time.perf_counter()
    texts: list[str] = []
    ttft, finish = 0.0, None
    with client.chat.completions.create(
        model=model, messages=messages, temperature=0, max_tokens=MAX_TOKENS, stream=True
    ) as stream:
        for choice in (choice for chunk in stream for choice in chunk.choices):
            if choice.delta.content:
                ttft = ttft or time.perf_counter() - sent
                texts.append(choice.delta.content)
            finish = choice.finish_reason or finish
    if not texts or finish is None:
        raise BrokenOff(f"{question!r} was answered with {''.join(texts)!r} and finish_reason {finish}")
    return Turn(question, "".join(texts), ttft)


def main(arguments: Sequence[str]) -> None:
    """Converse and print."""
    client, model = connect(parser(__doc__).parse_args(arguments).base_url)
    with client:
        for turn in converse(client, model):
            print(f"Customer: {turn.question}\n{model} (TTFT {turn.ttft * 1e3:.0f} ms): {turn.answer}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
