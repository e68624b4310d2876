"""Clients that leave: within a head or a body, before an answer, in the middle of a stream."""

import json
import random
from typing import Any

from loadtests.reliability.fuzz.attempt import Attempt, Expected, Piece, Site, chooser, post

SOURCE = "departures"
_LONG = 200


def attempt(site: Site, seed: int, index: int) -> Attempt:
    """One client that leaves."""
    random_ = chooser(seed, SOURCE, index)
    path, body = _work(site, random_)
    data = post(site, path, json.dumps(body).encode())
    match random_.choice(("head", "body", "before", "stream", "stream", "stream", "half", "beginning")):
        case "head":
            data = data[: random_.randint(1, data.find(b"\r\n\r\n"))]
            return _left(index, f"{path}: gone within the head", data, random_)
        case "body":
            data = data[: random_.randint(data.find(b"\r\n\r\n") + 4, len(data) - 1)]
            return _left(index, f"{path}: gone within the body", data, random_)
        case "before":
            return _left(index, f"{path}: gone before the answer", data, random_)
        case "half":
            what = f"{path}: nothing more to say"
            return Attempt(SOURCE, index, what, (Piece(data),), Expected.ANY, half_close=True, patience=5.0)
        case "beginning":
            return Attempt(
                SOURCE, index, f"{path}: gone at once", (Piece(data),), Expected.LEFT, leave_after=1
            )
    amount = random_.choice((50, 300, 700, 3000, 20_000))
    what = f"{path}: gone after {amount} bytes of the answer"
    return Attempt(SOURCE, index, what, (Piece(data),), Expected.LEFT, leave_after=amount)


def _left(index: int, what: str, data: bytes, random_: random.Random) -> Attempt:
    """Send it, wait for a moment, go."""
    pieces = (Piece(data), Piece(b"", random_.choice((0.0, 0.0, 0.002, 0.02))))
    return Attempt(SOURCE, index, what, pieces, Expected.LEFT, leave_after=0)


def _work(site: Site, random_: random.Random) -> tuple[str, dict[str, Any]]:
    """Something that takes a while."""
    long = {"model": site.model, "max_tokens": _LONG, "ignore_eos": True, "temperature": 1.5}
    stream = {"stream": random_.random() < 0.8, "n": random_.choice((1, 1, 2, 4))}
    texts = [f"text number {random_.random()}" for _ in range(16)]
    return random_.choice(
        (
            ("/v1/chat/completions", long | stream | {"messages": [{"role": "user", "content": texts[0]}]}),
            ("/v1/completions", long | stream | {"prompt": texts[:2]}),
            (
                "/v1/classify",
                {"model": site.model, "input": texts, "labels": ["a", "b", "c"], "multi_label": True},
            ),
        )
    )
