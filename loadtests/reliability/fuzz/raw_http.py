"""Bytes that are no request, or a doubtful one: heads, framing, chunks, pipelines, other protocols."""

import random
import struct
from collections.abc import Callable
from itertools import pairwise

from loadtests.reliability.fuzz.attempt import CANARY, Attempt, Expected, Piece, Site, chooser, head, post

SOURCE = "http"
_PATIENCE = 0.25
"""Seconds that an input may keep the service waiting for more of it; it would wait ten."""
_LEAST_PATIENCE = 2.0
"""Where an answer must come."""

_OPTIONS = "OPTIONS /livez HTTP/1.1"

Made = tuple[str, bytes, Expected, tuple[str, ...]]


def attempt(site: Site, seed: int, index: int) -> Attempt:
    """One such input."""
    random_ = chooser(seed, SOURCE, index)
    kind = random_.choice(KINDS)
    what, data, expected, methods = kind(site, random_)
    pieces: tuple[Piece, ...] = (Piece(data),)
    if len(data) < 4096 and random_.random() < 0.15:
        what += ", in slow pieces"
        pieces = tuple(Piece(part, 0.01) for part in _parts(data, random_))
    patience = (
        30.0 if expected is Expected.WHOLE else _PATIENCE if expected is Expected.ANY else _LEAST_PATIENCE
    )
    half_close = expected is Expected.ANY and random_.random() < 0.3
    return Attempt(SOURCE, index, what, pieces, expected, methods, half_close=half_close, patience=patience)


def _body(site: Site) -> bytes:
    return b'{"model":"%s","prompt":"%s","max_tokens":1}' % (site.model.encode(), CANARY.encode())


def _lines(
    site: Site, *fields: str, request: str = "POST /v1/completions HTTP/1.1", end: str = "\r\n"
) -> bytes:
    """A head with the fields that a request needs, and these behind them."""
    known = [f"Host: {site.host}", f"Authorization: Bearer {site.key}", "Content-Type: application/json"]
    return (end.join([request, *known, *fields]) + end + end).encode("latin-1")


def _smuggling(site: Site, random_: random.Random) -> Made:
    """A second request behind a body whose end two parsers would see elsewhere."""
    body, hidden = _body(site), post(site, "/v1/completions", _body(site))
    length, chunked = f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"
    fields = random_.choice(
        (
            (length, chunked),
            (chunked, length),
            (length, f"Content-Length: {len(body) + 1}"),
            (length, length),
            (f"Content-Length: {len(body)}, {len(body)}",),
            (f"Content-Length: +{len(body)}",),
            (f"Content-Length: 0x{len(body):x}",),
            (f"Content-Length: -{len(body)}",),
            ("Content-Length: 1e2",),
            (f"Content-Length : {len(body)}",),
            (f"Content-Length: {'9' * 30}",),
            ("Content-Length: ",),
            ("Transfer-Encoding: gzip, chunked",),
            ("Transfer-Encoding: chunked, identity",),
            ("Transfer-Encoding: xchunked", length),
            ("Transfer-Encoding: \x0bchunked", length),
            ("Transfer-Encoding : chunked",),
            (chunked, chunked),
            ("Transfer-Encoding: identity", length),
        )
    )
    framed = b"0\r\n\r\n" if chunked in fields else body
    return (
        f"smuggling by {' and '.join(fields)!a}",
        _lines(site, *fields) + framed + hidden,
        Expected.REFUSED,
        ("POST",),
    )


def _bad_head(site: Site, random_: random.Random) -> Made:
    """A head that must be refused."""
    length = "Content-Length: 0"
    big = CANARY + "x" * 20_000
    name, data = random_.choice(
        (
            ("no Host", f"POST /tokenize HTTP/1.1\r\n{length}\r\n\r\n".encode()),
            ("two Hosts", _lines(site, f"Host: {CANARY}", length)),
            ("a line that goes on", _lines(site, f"X-A: {CANARY}", f" {CANARY}", length)),
            ("a space before the colon", _lines(site, f"X-A : {CANARY}", length)),
            ("a field without a colon", _lines(site, CANARY, length)),
            ("a field without a name", _lines(site, f": {CANARY}", length)),
            ("NUL in a field", _lines(site, f"X-A: {CANARY}\x00", length)),
            ("NUL in a name", _lines(site, f"X\x00A: {CANARY}", length)),
            ("one huge field", _lines(site, f"X-A: {big}", length)),
            ("one huge name", _lines(site, f"{big}: a", length)),
            ("a hundred fields", _lines(site, *(f"X-{n}: {CANARY}" for n in range(100)), length)),
            ("a huge target", _lines(site, length, request=f"POST /{big} HTTP/1.1")),
            ("a target with a space", _lines(site, length, request=f"POST /a {CANARY} HTTP/1.1")),
            ("HTTP/2.0", _lines(site, length, request="POST /tokenize HTTP/2.0")),
            ("HTTP/0.9", f"GET /{CANARY}\r\n\r\n".encode()),
            ("HTTP/1.2", _lines(site, length, request="POST /tokenize HTTP/1.2")),
            ("a lower-case version", _lines(site, length, request="POST /tokenize http/1.1")),
            ("no version", _lines(site, length, request="POST /tokenize")),
            ("an unknown method", _lines(site, length, request=f"{CANARY} /tokenize HTTP/1.1")),
            ("a lower-case method", _lines(site, length, request="post /tokenize HTTP/1.1")),
            ("CONNECT", _lines(site, length, request=f"CONNECT {CANARY}:443 HTTP/1.1")),
            ("TRACE", _lines(site, length, request=f"TRACE /{CANARY} HTTP/1.1")),
            ("DELETE", _lines(site, length, request="DELETE /v1/models HTTP/1.1")),
            ("a body that is too large", _lines(site, f"Content-Length: {1 << 40}")),
        )
    )
    return name, data, Expected.REFUSED, ("POST",)


def _bad_chunks(site: Site, random_: random.Random) -> Made:
    """A body in chunks that have no good form."""
    body = _body(site)
    size = b"%x" % len(body)
    name, chunks = random_.choice(
        (
            ("a chunk size that is no number", b"zz\r\n" + body + b"\r\n0\r\n\r\n"),
            ("a negative chunk size", b"-1\r\n" + body + b"\r\n0\r\n\r\n"),
            ("a chunk size with 0x", b"0x" + size + b"\r\n" + body + b"\r\n0\r\n\r\n"),
            ("a huge chunk size", b"f" * 20 + b"\r\n" + body),
            ("a chunk without its end", size + b"\r\n" + body + b"0\r\n\r\n"),
            ("an empty chunk size", b"\r\n" + body + b"\r\n0\r\n\r\n"),
        )
    )
    return name, _lines(site, "Transfer-Encoding: chunked") + chunks, Expected.REFUSED, ("POST",)


def _odd_chunks(site: Site, random_: random.Random) -> Made:
    """Chunks that some take."""
    body = _body(site)
    size = b"%x" % len(body)
    name, chunks = random_.choice(
        (
            ("line feeds alone in chunks", size + b"\n" + body + b"\n0\n\n"),
            ("a chunk extension", size + b";" + CANARY.encode() + b"=1\r\n" + body + b"\r\n0\r\n\r\n"),
            ("a huge chunk extension", size + b";" + b"x" * 100_000 + b"\r\n" + body + b"\r\n0\r\n\r\n"),
            ("leading zeros", b"0" * random_.choice((4, 400)) + size + b"\r\n" + body + b"\r\n0\r\n\r\n"),
            ("a trailer", size + b"\r\n" + body + b"\r\n0\r\nX-A: " + CANARY.encode() + b"\r\n\r\n"),
            ("a trailer of framing", size + b"\r\n" + body + b"\r\n0\r\nContent-Length: 5\r\n\r\n"),
            ("a space behind the size", size + b" \r\n" + body + b"\r\n0\r\n\r\n"),
            ("chunks of one byte", b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"),
            ("chunks that never end", (size + b"\r\n" + body + b"\r\n") * 50),
        )
    )
    return name, _lines(site, "Transfer-Encoding: chunked") + chunks, Expected.ANY, ("POST",)


def _odd_head(site: Site, random_: random.Random) -> Made:
    """Heads that one may take or refuse."""
    length = "Content-Length: 0"
    name, data = random_.choice(
        (
            ("line feeds alone", _lines(site, length, end="\n")),
            ("carriage returns alone", _lines(site, length, end="\r")),
            ("empty lines first", b"\r\n" * random_.choice((1, 50)) + _lines(site, length)),
            ("HTTP/1.0", _lines(site, length, request="POST /tokenize HTTP/1.0")),
            ("an absolute target", _lines(site, length, request=f"GET http://{CANARY}/v1/models HTTP/1.1")),
            ("two authorizations", _lines(site, "Authorization: Bearer x", length)),
            ("an upgrade", _lines(site, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", length)),
            ("a websocket", _lines(site, "Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {CANARY}")),
            ("100-continue", _lines(site, "Expect: 100-continue", "Content-Length: 5") + b"{}   "),
            ("another expectation", _lines(site, f"Expect: {CANARY}", length)),
            ("a body that is cut off", _lines(site, "Content-Length: 500") + _body(site)),
            ("no colon and no end", f"POST /v1/completions HTTP/1.1\r\nHost: {CANARY}".encode()),
            ("bytes above 127", _lines(site, "X-A: \xff\xfe", length)),
            ("percent signs", _lines(site, length, request="GET /%zz%00%ff HTTP/1.1")),
            ("dots", _lines(site, length, request="GET /v1/models/../../metrics HTTP/1.1")),
            ("bytes in the target", _lines(site, length, request="GET /\xff\xfe HTTP/1.1")),
            ("a preflight", _lines(site, "Origin: http://a", "Access-Control-Request-Method: GET", request=_OPTIONS)),
            ("a fragment", _lines(site, length, request=f"GET /v1/models#{CANARY} HTTP/1.1")),
        )
    )  # fmt: skip
    return name, data, Expected.ANY, ("POST",)


def _other_protocols(site: Site, random_: random.Random) -> Made:
    name, data = random_.choice(
        (
            ("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))),
            ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random_.randbytes(500)),
            ("SSH", b"SSH-2.0-" + CANARY.encode() + b"\r\n"),
            ("a PROXY line", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + head(site, "GET", "/livez", ())),
            ("PROXY version 2", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + random_.randbytes(12)),
            ("SOCKS", b"\x05\x01\x00"),
            ("SMTP", b"EHLO " + CANARY.encode() + b"\r\n"),
            ("a length-framed message", struct.pack(">I", 2**31 - 1) + random_.randbytes(64)),
            ("nothing", b""),
            ("noise", random_.randbytes(random_.randint(1, 3000))),
            ("noise in lines", b"\r\n".join(random_.randbytes(20) for _ in range(30)) + b"\r\n\r\n"),
            ("one letter", b"G"),
            ("NULs", b"\x00" * random_.choice((1, 100_000))),
            ("line ends", b"\r\n" * 20_000),
        )
    )
    return name, data, Expected.ANY, ("GET",)


def _mutated(site: Site, random_: random.Random) -> Made:
    """A good request with some bytes changed, dropped or doubled."""
    data = bytearray(post(site, random_.choice(("/v1/completions", "/tokenize", "/v1/models")), _body(site)))
    end = data.find(b"\r\n\r\n") + 4
    for _ in range(random_.randint(1, 4)):
        place = random_.randrange(end)
        match random_.choice(("change", "drop", "insert", "double")):
            case "change":
                data[place] = random_.choice((random_.randrange(256), *b"\r\n \t:\x00"))
            case "drop":
                del data[place : place + random_.randint(1, 6)]
            case "insert":
                data[place:place] = random_.choice(
                    (b"\r\n", b"\n", b"\x00", b" ", b":", b"\xff", b"\r\n\r\n")
                )
            case "double":
                data[place:place] = data[place : place + random_.randint(1, 40)]
    return "a changed head", bytes(data), Expected.ANY, ("POST",)


def _pipeline(site: Site, random_: random.Random) -> Made:
    """Several requests in one go: each gets its answer, in order."""
    good = [
        (method, _lines(site, "Content-Length: 0", request=f"{method} {path} HTTP/1.1"))
        for method, path in (
            ("GET", "/livez"),
            ("HEAD", "/readyz"),
            ("GET", "/v1/models"),
            ("POST", "/tokenize"),
        )
    ]
    body = _body(site)
    good.append(("POST", _lines(site, f"Content-Length: {len(body)}") + body))
    chosen = [random_.choice(good) for _ in range(random_.randint(1, 12))]
    chosen.append(("GET", head(site, "GET", "/livez", ())))
    return (
        f"{len(chosen)} requests at once",
        b"".join(data for _, data in chosen),
        Expected.WHOLE,
        tuple(method for method, _ in chosen),
    )


def _garbage_behind(site: Site, random_: random.Random) -> Made:
    """A good request, and then none."""
    good = _lines(site, f"Content-Length: {len(_body(site))}") + _body(site)
    garbage = random_.choice(
        (b"\x00" * 10, random_.randbytes(200), b"GET\r\n\r\n", CANARY.encode() * 9, b"0\r\n\r\n")
    )
    return "garbage behind a request", good + garbage, Expected.ANY, ("POST", "GET")


def _parts(data: bytes, random_: random.Random) -> list[bytes]:
    places = sorted({random_.randint(0, len(data)) for _ in range(random_.randint(2, 8))} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


KINDS: tuple[Callable[[Site, random.Random], Made], ...] = (
    *(_smuggling, _smuggling, _bad_head, _bad_head, _bad_chunks, _odd_chunks, _odd_head, _odd_head),
    *(_other_protocols, _mutated, _mutated, _mutated, _pipeline, _garbage_behind),
)
