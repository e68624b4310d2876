"""The server that a load goes to: one started for it, or one that runs already, on this machine unless allowed."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from app.bench.address import InvalidUrl, base_address, is_loopback
from loadtests.processes import free_port, running

_START_SECONDS = 180.0
_STATED = {"REPARTEE_LOG_LEVEL": "warning", "REPARTEE_HOST": "127.0.0.1"}


class Refused(Exception):
    """A load that is not sent; the message is one line."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--url` and `--not-loopback`."""
    parser.add_argument(
        "--url", help="a server that runs already; default: this service is started, and ended"
    )
    parser.add_argument(
        "--not-loopback",
        action="store_true",
        help="allow a --url on another machine, whose owner must agree to be loaded",
    )


@contextmanager
def target(url: str | None, not_loopback: bool = False) -> Iterator[str]:
    """The base address, with `/v1` at its end; without a URL, of the service with the embedded model.

    Raises:
        Refused: the URL is none, or is not on this machine and was not allowed.
        ProcessFailed: the service does not start.
    """
    if url is None:
        port = free_port()
        with running([sys.executable, "-m", "app"], _STATED | {"REPARTEE_PORT": str(port)}) as service:
            service.wait_for(port, "/readyz", _START_SECONDS)
            yield f"http://127.0.0.1:{port}/v1"
        return
    try:
        base = base_address(url)
    except InvalidUrl as error:
        raise Refused(str(error)) from error
    if not (not_loopback or is_loopback(base)):
        raise Refused(f"{url} is not on this machine; --not-loopback allows it")
    yield base
