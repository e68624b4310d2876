"""A client that writes down what it sees of one request."""

import asyncio
import time
from contextlib import aclosing
from typing import Any

import msgspec

from app.bench.http_stream import Connections, RequestFailed, post_stream
from loadtests.reliability.chaos.history import Answer, Event, EventKind, Exchange, StreamReader, events_of
from loadtests.reliability.chaos.questions import Question

_LIMIT_SECONDS = 60.0
_TOLD_ANEW = ("id", "created", "system_fingerprint", "timings")
"""Fields of a decision that are new in each answer."""


async def ask(
    base: str,
    connections: Connections,
    tenant: str,
    question: Question,
    leave_after: int | None = None,
) -> Exchange:
    """Send a question, and return what was seen; nothing is raised for what the server does.

    Args:
        leave_after: characters of the answer after which the client leaves.
    """
    exchange = Exchange(tenant, question.name, question.stream, question.most_tokens, time.monotonic())

    def note(kind: EventKind, value: str = "") -> None:
        exchange.events.append(Event(time.monotonic(), kind, value))

    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            left = await _exchange(base + question.path, connections, question, exchange, leave_after)
        note("left" if left else "end")
    except RequestFailed as failure:
        _note_refusal(exchange, failure)
    except (TimeoutError, msgspec.DecodeError) as error:
        note("silent", type(error).__name__)
    except ConnectionRefusedError:
        note("unreached")
    except OSError as error:
        note("cut", error.strerror or "")
    return exchange


async def _exchange(
    url: str, connections: Connections, question: Question, exchange: Exchange, leave_after: int | None
) -> bool:
    """Whether the client left."""
    reader, whole = StreamReader(), bytearray()
    async with aclosing(post_stream(url, question.content, connections)) as pieces:
        async for _, piece in pieces:
            now = time.monotonic()
            if not exchange.events:
                exchange.events.append(Event(now, "status", "200"))
            if question.stream:
                exchange.events += reader.feed(now, piece)
            else:
                whole += piece
            if leave_after is not None and len(exchange.text) >= leave_after:
                return True
    if whole:
        exchange.events += _whole_answer(question, bytes(whole))
    return False


def _whole_answer(question: Question, body: bytes) -> list[Event]:
    now = time.monotonic()
    if question.most_tokens:
        return events_of(now, body)
    decision: dict[str, Any] = msgspec.json.decode(body)
    for name in _TOLD_ANEW:
        decision.pop(name, None)
    decision.pop("usage", None)  # says how much the prefix cache had
    return [Event(now, "text", msgspec.json.encode(decision, order="sorted").decode())]


def _note_refusal(exchange: Exchange, failure: RequestFailed) -> None:
    now = time.monotonic()
    if not failure.status:
        exchange.events.append(Event(now, "cut", str(failure)))
        return
    exchange.retry_after = failure.retry_after
    exchange.events.append(Event(now, "status", str(failure.status)))
    try:
        exchange.events += events_of(now, failure.body)
    except msgspec.DecodeError:
        exchange.events.append(Event(now, "error", "no JSON"))
    exchange.events.append(Event(now, "end"))


async def fault_free(
    base: str, connections: Connections, tenant: str, questions: list[Question]
) -> tuple[dict[str, Answer], list[Exchange]]:
    """The answers to compare with, and the exchanges that gave them.

    Raises:
        RequestFailed: one did not end whole.
    """
    answers, exchanges = {}, []
    for question in questions:
        exchange = await ask(base, connections, tenant, question)
        exchanges.append(exchange)
        if exchange.fate != "completed":
            raise RequestFailed(f"{question.name} was not answered before any fault: {exchange.events[-1]}")
        answers[question.name] = Answer(exchange.text, exchange.tokens)
    return answers, exchanges
