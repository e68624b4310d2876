"""The server that a load goes to: one started for it, or one that runs already, on this machine unless allowed."""

import argparse
import asyncio
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
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


def add_apart_option(parser: argparse.ArgumentParser) -> None:
    """`--apart`."""
    parser.add_argument(
        "--apart",
        action="store_true",
        help="the service gets the first half of this machine's cores, and this client the others",
    )


@contextmanager
def target(url: str | None, anywhere: bool = False, *, apart: bool = False) -> Iterator[Target]:
    """The server at a URL; without one, this service with the embedded model, on a port of its own.

    Args:
        apart: give the service that is started the first half of the cores, and the calling thread the others.

    Raises:
        Refused: the URL is none, or is not on this machine and was not allowed, or nothing answers there; or there are
            no cores to part.
        ProcessFailed: the service does not start.
    """
    if url is None:
        with ExitStack() as stack:
            first, others = _halves() if apart else (None, None)
            with _on(first):
                service = stack.enter_context(ready_service({"LOG_LEVEL": "warning"}))
            stack.enter_context(_on(others))
            yield _answering(f"{service.url}/v1")
        return
    if apart:
        raise Refused("--apart is for a service that is started here; one that runs has its cores already")
    try:
        base = base_address(url)
    except InvalidUrl as error:
        raise Refused(str(error)) from error
    if not (anywhere or is_loopback(base)):
        raise Refused(f"{url} is not on this machine; --anywhere allows it")
    yield _answering(base)


def _halves() -> tuple[list[int], list[int]]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Refused("--apart needs two cores at least")
    return cores[: len(cores) // 2], cores[len(cores) // 2 :]


@contextmanager
def _on(cores: Collection[int] | None) -> Iterator[None]:
    """Keep the calling thread, and what it starts, to these cores; None changes nothing."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


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
