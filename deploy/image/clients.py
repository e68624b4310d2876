"""Clients of a service in a container: probes, and streams that are counted as whole, refused or cut."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import httpx

_POLL_SECONDS = 0.05
_STREAM_SECONDS = 120.0
MODEL = "repartee-support"
PROMPT = "Where is my order, and how do I return what I do not want to keep?"

Outcome = Literal["whole", "refused", "cut"]


@dataclass(frozen=True)
class Stream:
    """One streamed completion; times are on `time.monotonic`.

    Attributes:
        outcome: refused: the service said 503, or took no connection; cut: it began and did not end with `[DONE]`.
    """

    outcome: Outcome
    began: float
    ended: float
    chunks: int = 0


class NotReady(Exception):
    """A service did not become ready in time."""


def wait_until_ready(url: str, seconds: float, headers: dict[str, str] | None = None) -> float:
    """Wait for a 200 of `url`; returns when it came, on `time.monotonic`.

    Raises:
        NotReady: it did not come for so long.
    """
    limit = time.monotonic() + seconds
    last = "no answer"
    while time.monotonic() < limit:
        try:
            answer = httpx.get(url, timeout=5, headers=headers)
            if answer.status_code == 200:
                return time.monotonic()
            last = f"status {answer.status_code}"
        except httpx.HTTPError as error:
            last = type(error).__name__
        time.sleep(_POLL_SECONDS)
    raise NotReady(f"{url} was not answered with 200 within {seconds:g} s; last: {last}")


def stream(base_url: str, *, max_tokens: int = 400, headers: dict[str, str] | None = None) -> Stream:
    """Ask for one streamed chat completion, on a connection of its own, and read it to the end."""
    began, chunks, last, answered = time.monotonic(), 0, "", False
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": True,
        "max_tokens": max_tokens,
    }
    url = f"{base_url}/v1/chat/completions"
    try:
        with httpx.stream("POST", url, json=body, headers=headers, timeout=_STREAM_SECONDS) as answer:
            answered = answer.status_code != 503
            answer.raise_for_status()
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    chunks, last = chunks + 1, line
    except httpx.HTTPStatusError as error:
        if answered:
            raise RuntimeError(f"{url} was answered with {error.response.status_code}") from error
    except httpx.HTTPError:
        pass
    outcome: Outcome = "whole" if last == "data: [DONE]" else "cut" if answered else "refused"
    return Stream(outcome, began, time.monotonic(), chunks)


@contextmanager
def steady_streams(base_url: str, clients: int) -> Iterator[list[Stream]]:
    """Clients that each ask again as soon as a stream has ended, until one is refused; the list fills meanwhile.

    At the end it waits for all of them, so the list is then complete.
    """
    streams: list[Stream] = []
    leave = threading.Event()

    def ask() -> None:
        while not leave.is_set():
            streams.append(found := stream(base_url))
            if found.outcome != "whole":
                return

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield streams
    finally:
        leave.set()
        for thread in threads:
            thread.join(_STREAM_SECONDS)


def counted(streams: Sequence[Stream], outcome: Outcome) -> int:
    """How many of them ended so."""
    return sum(stream.outcome == outcome for stream in streams)
