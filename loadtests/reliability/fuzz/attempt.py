"""One input: exact bytes, how they are sent, and what may come back."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

CANARY = "Zq7Canary"
"""Stands in what is sent, in whatever case; no error may repeat it."""


class Expected(Enum):
    """What a client must see."""

    WHOLE = "a whole answer to each request, whatever its status"
    REFUSED = "no success: a refusal of what comes first, or the end of the connection"
    ANY = "whole answers, if any: the bytes may be no request"
    LEFT = "nothing: the client leaves"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that are written together, so many seconds after those before them."""

    data: bytes
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One input.

    Attributes:
        source, index: where it comes from; with the seed of the run they make it again (but see openapi_cases.py).
        what: what is wrong with it, in words.
        methods: of the requests in it, as far as they are known: what answers HEAD has no body.
        leave_after: end the connection after so many bytes of the answer; None reads it to its end.
        half_close: say that nothing more will be sent.
        patience: seconds of silence after which the client goes.
    """

    source: str
    index: int
    what: str
    pieces: tuple[Piece, ...]
    expected: Expected
    methods: tuple[str, ...] = ("POST",)
    leave_after: int | None = None
    half_close: bool = False
    patience: float = 30.0

    @property
    def data(self) -> bytes:
        """All that is sent."""
        return b"".join(piece.data for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Site:
    """The service under test.

    Attributes:
        key: may do all; `narrow` only decisions, `limited` few requests a second.
    """

    host: str
    port: int
    model: str
    key: str
    narrow: str
    limited: str


def chooser(seed: int, source: str, index: int) -> random.Random:
    """The randomness of one input, the same in every run with this seed."""
    return random.Random(f"{seed}/{source}/{index}")


def head(
    site: Site, method: str, target: str, fields: Iterable[tuple[str, str]], key: str | None = None
) -> bytes:
    """A well-formed head that ends its connection; the key is the one that may do all."""
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: {site.host}:{site.port}",
        f"Authorization: Bearer {site.key if key is None else key}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in fields),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def post(site: Site, target: str, body: bytes, fields: Iterable[tuple[str, str]] = ()) -> bytes:
    """A well-formed request with a body that calls itself JSON."""
    own = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    return head(site, "POST", target, [*own, *fields]) + body
