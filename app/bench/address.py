"""Where a load goes: any OpenAI-compatible address, and whether it is on this machine."""

import ipaddress
from urllib.parse import urlsplit


class InvalidUrl(ValueError):
    """No address of a server; the message is one line."""


def base_address(url: str) -> str:
    """The address with `/v1` at its end, whether it was there or not.

    Raises:
        InvalidUrl: it is no http or https address, or carries what does not belong there.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as the look-up of the name will, which lets its error through
    except ValueError as error:
        raise InvalidUrl(f"{url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InvalidUrl(f"{url!r} is no address such as http://127.0.0.1:8000")
    if parts.username is not None:
        raise InvalidUrl("An address carries no user and password; a key comes from the environment")
    if parts.query or parts.fragment:
        raise InvalidUrl(f"{url!r} has a query or a fragment; the base address of the API is wanted")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith('/v1') else path + '/v1'}"


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's own, by its name alone."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
