"""The server that a load goes to: one started for it, or one that runs already, on this machine unless allowed."""

import argparse
import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.bench.address import InvalidUrl, base_address, is_loopback
from app.bench.ask import Server
from app.bench.http_stream import Connections, RequestFailed
from loadtests.ready_service import ready_service

_ANSWER_SECONDS = 10.0


class Refused(Exception):
    """A load that is not sent; the message is one line."""


@dataclass(frozen=True)
class Target:
    """A server that has answered.

    Attributes:
        base: its address, with `/v1` at its end.
        model: the first that it names.
    """

    base: str
    model: str

    def connect(self) -> Server:
        """For the requests of a load, with the key from `OPENAI_API_KEY`."""
        return _server(self.base)


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--url` and `--anywhere`."""
    parser.add_argument(
        "--url", help="a server that runs already; default: this service is started, and ended"
    )
    parser.add_argument(
        "--anywhere",
        action="store_true",
        help="allow a --url on another machine, whose owner must agree to be loaded",
    )


@contextmanager
def target(url: str | None, anywhere: bool = False) -> Iterator[Target]:
    """The server at a URL; without one, this service with the embedded model, on a port of its own.

    Raises:
        Refused: the URL is none, or is not on this machine and was not allowed, or nothing answers there.
        ProcessFailed: the service does not start.
    """
    if url is None:
        with ready_service({"LOG_LEVEL": "warning"}) as service:
            yield _answering(f"{service.url}/v1")
        return
    try:
        base = base_address(url)
    except InvalidUrl as error:
        raise Refused(str(error)) from error
    if not (anywhere or is_loopback(base)):
        raise Refused(f"{url} is not on this machine; --anywhere allows it")
    yield _answering(base)


def _server(base: str) -> Server:
    return Server(base, Connections(os.environ.get("OPENAI_API_KEY", "")))


def _answering(base: str) -> Target:
    async def models() -> list[str]:
        server = _server(base)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await server.models()
        finally:
            server.connections.close()

    try:
        named = asyncio.run(models())
    except TimeoutError as error:
        raise Refused(f"{base} does not answer within {_ANSWER_SECONDS:g} s") from error
    except OSError as error:
        raise Refused(f"{base} does not answer: {error.strerror or error}") from error
    except RequestFailed as error:
        raise Refused(f"{base} does not answer: {error}") from error
    if not named:
        raise Refused(f"{base} names no model")
    return Target(base, named[0])
