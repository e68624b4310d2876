"""The good traffic: a fixed set of questions whose answers are the same each time, so that a wrong byte is seen."""

from dataclasses import dataclass
from typing import Any

import msgspec

from app.bench.ask import CHAT_PATH

_ASKED = (
    "Where is my parcel? It was to come on Monday.",
    "I was charged twice for one order. How do I get my money back?",
    "How do I cancel an order that I placed an hour ago?",
    "I cannot sign in any more. How do I set a new password?",
)
_LABELS = ["delivery", "refund", "cancellation", "account", "something else"]
_LONG, _SHORT = 700, 48
_encode = msgspec.json.encode


@dataclass(frozen=True)
class Question:
    """A request with its own name.

    Attributes:
        path: below the base address that ends with `/v1`.
        most_tokens: 0 for a decision.
    """

    name: str
    path: str
    content: bytes
    stream: bool
    most_tokens: int


def good_questions(model: str) -> list[Question]:
    """Streams long and short, whole answers and decisions; greedy and seeded."""
    found = []
    for number, asked in enumerate(_ASKED):
        for way, sampling in (
            ("greedy", {"temperature": 0}),
            ("seeded", {"temperature": 1.0, "seed": 11 + number}),
        ):
            found += [
                chat(model, f"long {way} stream {number}", asked, _LONG, sampling, stream=True, whole=True),
                chat(model, f"{way} stream {number}", asked, _SHORT, sampling, stream=True),
                chat(model, f"{way} whole {number}", asked, _SHORT, sampling, stream=False),
            ]
        body = {"model": model, "input": asked, "labels": _LABELS}
        found.append(Question(f"decision {number}", "/classify", _encode(body), False, 0))
    return found


def chat(
    model: str,
    name: str,
    asked: str,
    tokens: int,
    sampling: dict[str, Any],
    *,
    stream: bool,
    whole: bool = False,
) -> Question:
    """A chat of at most so many tokens, or of exactly so many where it is to be `whole`."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": asked}],
        "max_tokens": tokens,
        **sampling,
    }
    if whole:
        body["ignore_eos"] = True
    if stream:
        body |= {
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
    return Question(name, CHAT_PATH, _encode(body), stream, tokens)


def bad_questions(model: str) -> list[Question]:
    """What nobody may ask: each is a 4xx."""
    return [Question(f"bad {n}", CHAT_PATH, body, False, 0) for n, body in enumerate(_bad_bodies(model))]


def _bad_bodies(model: str) -> list[bytes]:
    said = b'"messages": [{"role": "user", "content": "x"}]'
    named = b'"model": ' + _encode(model)
    return [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b'{"a": 1, "a": 2}',
        b"{" + named + b"}",
        b"{" + named + b', "messages": []}',
        b"{" + named + b', "messages": ' + b"[" * 400 + b"]" * 400 + b"}",
        b"{" + named + b", " + said + b', "temperature": NaN}',
        b"{" + named + b", " + said + b', "temperature": 1e400}',
        b"{" + named + b", " + said + b', "n": 99999999999}',
        b"{" + named + b", " + said + b', "stop": "\\ud800"}',
        b'{"model": "another", ' + said + b"}",
    ]
