"""Requests of a legal size that cost the service the most, for every route that takes a body."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SIZE = 1 << 20
"""Bytes of a body, as the service takes them by default."""
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
DECISIONS, SYSTEM_ONE, CLASSIFY = "/v1/decisions", "/v1/systemone", "/v1/classify"
TOKENIZE, DETOKENIZE = "/tokenize", "/detokenize"
_SAYING: dict[str, tuple[dict[str, Any], str, str]] = {
    CHAT: ({"max_tokens": 1}, "messages", '[{"role":"user","content":%s}]'),
    COMPLETIONS: ({"max_tokens": 1}, "prompt", "%s"),
    DECISIONS: ({"questions": [{"type": "predicate", "instructions": "Is it?"}]}, "input", "%s"),
    SYSTEM_ONE: ({"questions": {"a": {"type": "noul", "instructions": "Is it?"}}}, "state", "%s"),
    CLASSIFY: ({"labels": ["yes", "no"]}, "input", "%s"),
    TOKENIZE: ({}, "prompt", "%s"),
}
"""For each route that takes text: what else a request has, the field of the text, and how the text lies in it."""
_TEXTS = {
    "letters": b"a",
    "words": b"where is my parcel ",
    "spaces and letters": b" a",
    "punctuation": b"!?.;",
    "line ends, escaped": rb"\n",
    "quotes, escaped": rb"\"",
    "CJK": "退货".encode(),
    "CJK, escaped": rb"\u9000",
    "emoji": "👋🏽".encode(),
    "emoji, escaped": rb"\ud83d\udc4b",
    "combining accents": "e\u0301\u0323".encode(),
    "full-width": "＜ｕ＞".encode(),
    "control tokens": b"<|im_start|>",
}
_VALUES = {
    "numbers": b"0",
    "fractions": b"0.5",
    "empty strings": b'""',
    "strings": b'"a"',
    "escaped strings": rb'"\""',
    "long fractions": b"0." + b"1234567890" * 40,
    "empty lists": b"[]",
    "lists of a number": b"[0]",
    "empty objects": b"{}",
    "objects of a key": b'{"a":0}',
    "objects of many keys": b"{" + b",".join(b'"%d":0' % key for key in range(1024)) + b"}",
    "nulls": b"null",
    "depth": b"[" * 24 + b"]" * 24,
}
_PLACES = {
    CHAT: ("messages", "stop", "tools", "stop_token_ids", "logit_bias", "unknown"),
    COMPLETIONS: ("prompt", "stop", "logit_bias"),
    DECISIONS: ("input", "questions"),
    SYSTEM_ONE: ("state", "questions"),
    CLASSIFY: ("input", "labels"),
    TOKENIZE: ("messages", "prompt"),
    DETOKENIZE: ("tokens",),
}
"""Fields in which a list of anything is tried."""


@dataclass(frozen=True)
class Input:
    """One request."""

    path: str
    name: str
    body: bytes


def catalogue(model: str) -> Iterator[Input]:
    """All of them, for a service of this model."""
    for path, (rest, field, form) in _SAYING.items():
        for name, piece in _TEXTS.items():
            before, after = form.encode().split(b"%s")
            yield _filled(path, f"text: {name}", model, rest, field, before + b'"', piece, b"", b'"' + after)
    for path, fields in _PLACES.items():
        rest = _SAYING[path][0] if path in _SAYING else {}
        for field in fields:
            for name, value in _VALUES.items():
                yield _filled(path, f"{field}: {name}", model, rest, field, b"[", value, b",", b"]")
    yield from _garbage()
    yield from _many(model)


def _filled(
    path: str,
    name: str,
    model: str,
    rest: dict[str, Any],
    field: str,
    before: bytes,
    piece: bytes,
    between: bytes,
    after: bytes,
) -> Input:
    """A body of the largest size, with a field that holds one piece again and again."""
    others = {key: value for key, value in {"model": model, **rest}.items() if key != field}
    head = json.dumps(others)[:-1].encode() + f',"{field}":'.encode() + before
    room = SIZE - len(head) - len(after) - 1 - len(piece)
    count = room // (len(piece) + len(between))
    return Input(path, name, head + (piece + between) * count + piece + after + b"}")


def _garbage() -> Iterator[Input]:
    """What is no JSON, which is the same for every route."""
    for name, piece in {
        "brackets": b"[",
        "quotes": b'"',
        "quotes and backslashes": rb'"\\',
        "backslashes": b"\\",
        "zeros": b"\0",
        "digits": b"9",
        "commas": b",",
        "spaces": b" ",
    }.items():
        start = b"[" * 33
        yield Input(CHAT, f"garbage: {name}", start + piece * ((SIZE - len(start)) // len(piece)))


def _many(model: str) -> Iterator[Input]:
    """As many as are taken of what a request may have many of, and more."""

    def made(path: str, name: str, **fields: Any) -> Input:
        body = json.dumps({"model": model, **fields}, ensure_ascii=False, separators=(",", ":")).encode()
        assert len(body) <= SIZE
        return Input(path, name, body)

    said = [{"role": "user", "content": "hello"}]
    texts = [f"{index} " + "where is my parcel " * 1600 for index in range(32)]
    short_texts = [f"{index} where is my parcel?" for index in range(32)]
    labels = [f"label {index}" for index in range(255)]
    long_labels = [f"{index} ".ljust(128, "退") for index in range(255)]
    for count in (256, 257, 4096):
        yield made(CHAT, f"{count} messages", messages=said * count)
        yield made(TOKENIZE, f"{count} messages", messages=said * count)
    yield made(
        CHAT,
        "256 long messages",
        max_tokens=1,
        messages=[{"role": role, "content": "ab c" * 950} for role in ("user", "assistant") * 128],
    )
    yield made(
        CHAT,
        "1,024 parts",
        messages=[{"role": "user", "content": [{"type": "text", "text": "a" * 900}] * 1024}],
    )
    yield made(CHAT, "256 messages of 100 parts", messages=[_parts(100)] * 256)
    yield made(CHAT, "huge max_tokens", messages=said, max_tokens=2**62)
    yield made(CHAT, "logit_bias of 256", messages=said, max_tokens=1, logit_bias=_bias(256))
    yield made(CHAT, "logit_bias of 1,024", messages=said, max_tokens=1, logit_bias=_bias(1024))
    yield made(CHAT, "1,024 unknown fields", messages=said, **{f"field_{i}": 0 for i in range(1000)})
    yield made(CHAT, "metadata of 1,024", messages=said, metadata={str(i): "a" * 900 for i in range(1024)})
    yield made(CHAT, "stop of 1 MiB", messages=said, stop="a" * (SIZE - 200))
    yield made(COMPLETIONS, "8 long prompts", max_tokens=1, prompt=["where is it " * 10_000] * 8)
    yield made(COMPLETIONS, "prompts of ids", max_tokens=1, prompt=[[5] * 2_000] * 200)
    choices = [{"value": label} for label in labels]
    questions = [
        {"type": "choice", "name": str(i), "instructions": f"{i}?", "choices": choices} for i in range(64)
    ]
    yield made(DECISIONS, "64 questions of 255 labels", input="Where is it?", questions=questions)
    yield made(DECISIONS, "64 questions of 255 wrong labels", input="?", questions=_wrong(questions))
    yield made(DECISIONS, "64 questions about a long text", input="a b " * 100_000, questions=questions)
    levels = [{"label": label, "description": "x" * 40} for label in labels]
    scores = [{"type": "score", "instructions": "How?", "levels": levels}] * 48
    yield made(DECISIONS, "48 scales of 255 levels", input="Where is it?", questions=scores)
    yield made(DECISIONS, "3,000 questions", input="?", questions=[questions[0] | {"choices": []}] * 3000)
    queries = {
        str(i): {"type": "choice", "instructions": "?", "criteria": dict.fromkeys(labels)} for i in range(64)
    }
    yield made(SYSTEM_ONE, "64 questions of 255 labels", state="Where is it?", questions=queries)
    yield made(SYSTEM_ONE, "1,024 wrong questions", state="?", questions=_queries(1024, {"type": "choice"}))
    wrong = {"type": "choice", "criteria": {str(i): 0 for i in range(90)}}
    yield made(SYSTEM_ONE, "1,000 questions of wrong labels", state="?", questions=_queries(1000, wrong))
    yield made(SYSTEM_ONE, "deep state", state=_deep(28), questions=queries)
    yield made(CLASSIFY, "32 long texts", input=texts, labels=["yes", "no"])
    yield made(CLASSIFY, "32 texts, 255 labels", input=short_texts, labels=labels)
    yield made(CLASSIFY, "32 texts, 255 long labels", input=short_texts, labels=long_labels)
    yield made(CLASSIFY, "32 texts, 255 described labels", input=short_texts, labels=_described(long_labels))
    yield made(CLASSIFY, "multi_label of 255", input="Where is it?", labels=labels, multi_label=True)
    yield made(CLASSIFY, "multi_label of 8 by 32", input=short_texts, labels=labels[:8], multi_label=True)
    yield made(CLASSIFY, "a label of 1 MiB", input="?", labels=["yes", "\u0344" * 500_000])
    yield made(CLASSIFY, "5,000 labels", input="?", labels=[f"{i} e\u0301" for i in range(5000)])
    yield made(DETOKENIZE, "ids of words", tokens=list(range(1000, 2000)) * 130)


def _parts(count: int) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": "a"}] * count}


def _bias(count: int) -> dict[str, float]:
    return {str(token): 0.5 for token in range(count)}


def _wrong(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [question | {"choices": [{"valu": 0} for _ in question["choices"]]} for question in questions]


def _queries(count: int, query: dict[str, Any]) -> dict[str, Any]:
    return {f"question {index}": query for index in range(count)}


def _described(labels: list[str]) -> list[dict[str, str]]:
    return [{"label": label, "description": "where it is " * 60} for label in labels]


def _deep(depth: int) -> Any:
    return [_deep(depth - 1)] * 2 if depth > 16 else _deep(depth - 1) if depth else "a"
