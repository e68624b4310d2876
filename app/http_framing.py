"""Where a request begins and ends: what the parser lets through and two servers may read in two ways."""

from collections.abc import Iterable

from httptools import HttpRequestParser

Fields = Iterable[tuple[bytes, bytes]]
"""Names, in lower case, and values of header fields."""

_BYTES_AROUND = 512 * 1024
_FACTOR_AROUND = 16
"""What may come around the bytes of a body, in chunks' sizes and behind the last: a fixed amount, and so many times its
length, since a chunk may be of one byte. The first is more than one read, which may hold other requests too. The parser
keeps an endless chunk extension or trailer to itself."""


def is_well_framed(parser: HttpRequestParser, fields: Fields) -> bool:
    """Whether a whole head says clearly what its request is.

    Of lengths the parser takes one alone, of digits, with no encoding beside it.
    """
    values: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    hosts = values.get(b"host", [])
    encodings = values.get(b"transfer-encoding", [])
    old = parser.get_http_version() == "1.0"
    return (
        parser.get_http_version() in ("1.0", "1.1")
        and (len(hosts) == 1 or (old and not hosts))
        and (not encodings or (not old and [one.lower() for one in encodings] == [b"chunked"]))
    )


def head_bytes(fields: Fields) -> int:
    """Header fields as they were sent, at least: name, colon, space, value, line end."""
    return sum(len(name) + len(value) + 4 for name, value in fields)


def is_endless(received: int, body: int) -> bool:
    """Whether far more bytes came behind a head than the body in them."""
    return received > _BYTES_AROUND + _FACTOR_AROUND * body


def head_without_offer(parser: HttpRequestParser, target: bytes, fields: Fields) -> bytes:
    """A head anew, without the offer to go on with another protocol."""
    top = b"%b %b HTTP/%b" % (parser.get_method(), target, parser.get_http_version().encode())
    kept = [name + b": " + value for name, value in fields if name != b"upgrade"]
    return b"\r\n".join([top, *kept, b"", b""])
