"""Requests that carry a canary wherever a client's text can stand, one for each way in which a request can end."""

import json
import random
import re
import socket
import string
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from loadtests.reliability import identifiers as made

Answer = tuple[int, bytes]
"""Status and body; status 0 where the client did not wait for it."""


@dataclass(frozen=True)
class Service:
    """What the requests need to know of the service.

    Attributes:
        key: may do everything; `chat_key` may not decide, `poor_key` has no requests left.
        poison: a word whose token the engine fails on.
        max_body: bytes.
    """

    port: int
    model: str
    key: str
    chat_key: str
    poor_key: str
    poison: str
    max_body: int

    @property
    def url(self) -> str:
        """Of the service."""
        return f"http://127.0.0.1:{self.port}"


PERSONAL: dict[str, Callable[[random.Random], str]] = {
    "mobile phone": made.mobile,
    "resident identity": made.identity,
    "payment card": made.card,
    "credit code": made.credit_code,
    "IBAN": made.iban,
    "passport": made.passport,
    "e-mail": made.email,
    "IP address": made.public_ipv4,
    "API key": made.api_key,
    "web token": made.web_token,
}
WORD = "plain word"
"""Nothing that any pattern knows: what keeps it out of everything is that texts are not written down."""


_PLAIN = "canary"


def canaries(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Kind and canary, all different; every second one a plain word."""
    chooser = random.Random(seed)
    kinds = list(PERSONAL)
    seen = set[str]()
    while len(seen) < count:
        number = len(seen)
        kind = WORD if number % 2 else kinds[number // 2 % len(kinds)]
        canary = _word(chooser) if kind == WORD else PERSONAL[kind](chooser)
        if canary not in seen:
            seen.add(canary)
            yield kind, canary


def _word(chooser: random.Random) -> str:
    return _PLAIN + "".join(chooser.choices(string.ascii_lowercase, k=14))


class Asking:
    """Sends the requests of one canary; every header, field and query that takes text carries it."""

    def __init__(self, client: httpx.Client, service: Service) -> None:
        self._client = client
        self._service = service

    def post(self, path: str, body: Any, canary: str, **headers: str) -> Answer:
        """POST JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = self._headers(canary) | {"content-type": "application/json"} | headers
        answer = self._client.post(f"{path}?q={canary}", content=content, headers=sent)
        return answer.status_code, answer.content

    def get(self, path: str, canary: str, method: str = "GET", **headers: str) -> Answer:
        """Any method without a body."""
        answer = self._client.request(
            method, path, params={"q": canary}, headers=self._headers(canary) | headers
        )
        return answer.status_code, answer.content

    def chat(self, canary: str, **fields: Any) -> dict[str, Any]:
        """The body of a chat request that is full of the canary."""
        return {
            "model": self._service.model,
            "messages": [
                {"role": "system", "content": f"Their number is {canary}."},
                {"role": "user", "content": f"我的号码是{canary}，where is my refund?"},
            ],
            "max_tokens": 3,
            "stop": [canary[:60]],
            "user": canary[:60],
            "metadata": {canary[:60]: canary[:200]},
        } | fields

    def raw(self, message: bytes) -> Answer:
        """Bytes on a connection of their own, and what comes back before its end."""
        with socket.create_connection(("127.0.0.1", self._service.port), timeout=30) as connection:
            connection.sendall(message)
            answer = b""
            with suppress(ConnectionResetError):
                while part := connection.recv(65536):
                    answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body

    def leave(self, canary: str) -> Answer:
        """Begin a long stream and go away."""
        body = self.chat(canary, stream=True, max_tokens=300, ignore_eos=True, temperature=1.5)
        with self._client.stream(
            "POST", "/v1/chat/completions", json=body, headers=self._headers(canary)
        ) as answer:
            next(answer.iter_bytes())
        return 0, b""

    def _headers(self, canary: str) -> dict[str, str]:
        """`x-request-id` is a name that clients give for the log: it gets no plain word, which would be no secret."""
        return {
            "authorization": f"Bearer {self._service.key}",
            "user-agent": f"agent/{canary}",
            "referer": f"https://shop.example/{canary}",
            "cookie": f"session={canary}",
            "x-forwarded-for": canary,
            "origin": f"https://{canary}.example",
            "traceparent": canary,
            "tracestate": f"vendor={canary}",
            "baggage": f"user={canary}",
            f"x-{re.sub('[^0-9A-Za-z]', '-', canary)}": canary,
        } | ({} if canary.startswith(_PLAIN) else {"x-request-id": canary})


def _unknown_name(canary: str) -> str:
    """The canary; of a plain word a fixed name, since `param` of an error names an unknown field, as OpenAI's does."""
    return "color" if canary.startswith(_PLAIN) else canary


Way = Callable[[Asking, Service, str], Answer]


def _classify(service: Service, canary: str, **fields: Any) -> dict[str, Any]:
    texts = {"input": [f"about {canary}"], "labels": ["refund", canary[:100]]}
    return {"model": service.model} | texts | fields


def _decide(service: Service, canary: str) -> dict[str, Any]:
    question = {
        "type": "choice",
        "name": "intent",
        "instructions": f"What does {canary} want?",
        "choices": [{"value": "refund"}, {"value": canary[:100]}],
    }
    return {"model": service.model, "input": canary, "questions": [question]}


_CHAT, _CLASSIFY = "/v1/chat/completions", "/v1/classify"
WAYS: dict[str, tuple[int, Way]] = {
    "chat": (200, lambda ask, service, canary: ask.post(_CHAT, ask.chat(canary), canary)),
    "chat, streamed": (
        200,
        lambda ask, service, canary: ask.post(_CHAT, ask.chat(canary, stream=True), canary),
    ),
    "completion": (
        200,
        lambda ask, service, canary: ask.post(
            "/v1/completions", {"model": service.model, "prompt": canary, "max_tokens": 2}, canary
        ),
    ),
    "classification": (
        200,
        lambda ask, service, canary: ask.post(_CLASSIFY, _classify(service, canary), canary),
    ),
    "decision": (
        200,
        lambda ask, service, canary: ask.post("/v1/decisions", _decide(service, canary), canary),
    ),
    "tokenizing": (
        200,
        lambda ask, service, canary: ask.post(
            "/tokenize", {"model": service.model, "prompt": canary}, canary
        ),
    ),
    "broken JSON": (400, lambda ask, service, canary: ask.post(_CHAT, f'{{"{canary}": '.encode(), canary)),
    "unknown field": (
        400,
        lambda ask, service, canary: ask.post(
            _CHAT, ask.chat(canary, **{_unknown_name(canary): canary}), canary
        ),
    ),
    "wrong type": (
        400,
        lambda ask, service, canary: ask.post(_CHAT, ask.chat(canary, temperature=canary), canary),
    ),
    "wrong role": (
        400,
        lambda ask, service, canary: ask.post(
            _CHAT, ask.chat(canary, messages=[{"role": canary, "content": canary}]), canary
        ),
    ),
    "too many tokens": (
        400,
        lambda ask, service, canary: ask.post(
            _CHAT,
            ask.chat(canary, messages=[{"role": "user", "content": canary * (50_000 // len(canary))}]),
            canary,
        ),
    ),
    "doubled label": (
        400,
        lambda ask, service, canary: ask.post(
            _CLASSIFY, _classify(service, canary, labels=[canary[:90]] * 2), canary
        ),
    ),
    "wrong key": (
        401,
        lambda ask, service, canary: ask.post(
            _CHAT, ask.chat(canary), canary, authorization=f"Bearer {canary}"
        ),
    ),
    "key without the scope": (
        403,
        lambda ask, service, canary: ask.post(
            _CLASSIFY, _classify(service, canary), canary, authorization=f"Bearer {service.chat_key}"
        ),
    ),
    "unknown model": (
        404,
        lambda ask, service, canary: ask.post(_CHAT, ask.chat(canary, model=canary), canary),
    ),
    "model by name": (404, lambda ask, service, canary: ask.get(f"/v1/models/{canary}", canary)),
    "unknown path": (404, lambda ask, service, canary: ask.get(f"/{canary}/x", canary)),
    "wrong method": (405, lambda ask, service, canary: ask.get(_CHAT, canary, method="PUT")),
    "body too large": (
        413,
        lambda ask, service, canary: ask.post(
            _CHAT,
            ask.chat(
                canary, messages=[{"role": "user", "content": canary * (service.max_body // len(canary))}]
            ),
            canary,
        ),
    ),
    "URL too long": (414, lambda ask, service, canary: ask.get("/" + canary * (9000 // len(canary)), canary)),
    "no JSON": (
        415,
        lambda ask, service, canary: ask.post(
            _CHAT, canary.encode(), canary, **{"content-type": f"text/{canary}"}
        ),
    ),
    "quota": (
        429,
        lambda ask, service, canary: ask.post(
            _CHAT, ask.chat(canary), canary, authorization=f"Bearer {service.poor_key}"
        ),
    ),
    "headers too large": (
        431,
        lambda ask, service, canary: ask.get("/livez", canary, **{"x-big": canary * (20_000 // len(canary))}),
    ),
    "engine fault": (
        500,
        lambda ask, service, canary: ask.post(
            _CHAT,
            ask.chat(canary, messages=[{"role": "user", "content": f"one{service.poison} {canary}"}]),
            canary,
        ),
    ),
    "engine fault in a decision": (
        500,
        lambda ask, service, canary: ask.post(
            _CLASSIFY, _classify(service, canary, input=f"one{service.poison} {canary}"), canary
        ),
    ),
    "malformed HTTP": (
        400,
        lambda ask, service, canary: ask.raw(
            f"POST /v1/{canary} HTTP/1.1\r\nHost: a\r\nHost: {canary}\r\nX: {canary}\r\n\r\n".encode()
        ),
    ),
    "no HTTP": (400, lambda ask, service, canary: ask.raw(f"{canary} {canary}\r\n\r\n".encode())),
    "left": (0, lambda ask, service, canary: ask.leave(canary)),
}
"""Each way with the status that it must get."""
