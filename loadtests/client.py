"""A streaming client for OpenAI's completions and chat completions that notes when each token arrived."""

import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec

from loadtests.http_stream import RequestFailed, post_stream


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    text: str | None = None
    delta: _Delta | None = None

    @property
    def has_text(self) -> bool:
        return bool(self.text or (self.delta and self.delta.content))


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


@dataclass
class Timeline:
    """One streamed answer; instants are seconds on `time.perf_counter`.

    Attributes:
        sent: just before the connection was opened.
        texts: arrival of each event that carried text; a token without text of its own has none.
        ended: when the answer was whole.
        prompt_tokens, tokens: as the server's usage says.
    """

    sent: float
    texts: list[float] = field(default_factory=list)
    ended: float = 0.0
    prompt_tokens: int = 0
    tokens: int = 0

    @property
    def ttft(self) -> float:
        """Seconds from sending to the first text."""
        return self.texts[0] - self.sent

    @property
    def total(self) -> float:
        """Seconds from sending to the end."""
        return self.ended - self.sent

    @property
    def gaps(self) -> list[float]:
        """Seconds between arrivals that follow each other; texts that came in one read arrived together."""
        return [later - earlier for earlier, later in pairwise(self.arrivals)]

    @property
    def arrivals(self) -> list[float]:
        """When text arrived, each instant once."""
        return list(dict.fromkeys(self.texts))


async def stream(url: str, body: dict[str, Any], timeline: Timeline | None = None) -> Timeline:
    """Send one request and read its stream to the end.

    Args:
        url: the whole address, `http://host:port/v1/completions` or `.../v1/chat/completions`.
        body: the request; `stream` and `stream_options.include_usage` are added.
        timeline: filled while the answer arrives, for callers that watch it.

    Raises:
        RequestFailed: an error status, an error event, an answer without text, or one without usage.
    """
    request = body | {"stream": True, "stream_options": {"include_usage": True}}
    timeline = timeline or Timeline(0.0)
    timeline.sent = time.perf_counter()
    events = _Events()
    async with aclosing(post_stream(url, msgspec.json.encode(request))) as pieces:
        async for arrived, piece in pieces:
            for data in events.feed(piece):
                _note(timeline, arrived, data)
    timeline.ended = time.perf_counter()
    if not (timeline.texts and timeline.tokens):
        raise RequestFailed("The stream ended without text or without usage.")
    return timeline


def _note(timeline: Timeline, arrived: float, data: bytes) -> None:
    if data == b"[DONE]":
        return
    try:
        chunk = _decode(data)
    except msgspec.DecodeError as error:
        raise RequestFailed(f"An event is no chunk: {data[:500].decode(errors='replace')}") from error
    if chunk.error is not None:
        raise RequestFailed(f"The stream ended with an error: {chunk.error}")
    if any(choice.has_text for choice in chunk.choices):
        timeline.texts.append(arrived)
    if chunk.usage is not None:
        timeline.prompt_tokens = chunk.usage.prompt_tokens
        timeline.tokens = chunk.usage.completion_tokens


class _Events:
    """Cuts server-sent events out of pieces that end anywhere; comments are left out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event that `piece` completes."""
        *events, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in events:
            for line in event.split(b"\n"):
                if line.startswith(b"data:"):
                    yield line[5:].strip()
