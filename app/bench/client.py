"""A streaming client for OpenAI's completions and chat completions that notes when each token arrived."""

import time
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import msgspec

from app.bench.events import Events, read_chunk
from app.bench.http_stream import Connections, RequestFailed, post_stream

UsageWish = Literal["needed", "wanted", "unasked"]
"""Whether a stream must bring its token counts, may leave them out, or comes from a server that refuses to be asked."""


@dataclass
class Timeline:
    """One streamed answer; instants are seconds on `time.perf_counter`.

    Attributes:
        sent: just before the connection was asked for.
        texts: arrival of each event that carried text; a token without text of its own has none.
        ended: when the answer was whole.
        prompt_tokens, tokens: as the server's usage says; 0 where it says none.
        said: the texts themselves.
    """

    sent: float
    texts: list[float] = field(default_factory=list)
    ended: float = 0.0
    prompt_tokens: int = 0
    tokens: int = 0
    said: list[str] = field(default_factory=list)
    _events: Events = field(default_factory=Events, repr=False)

    def feed(self, arrived: float, piece: bytes) -> None:
        """Take a piece of the body that arrived at this instant.

        Raises:
            RequestFailed: an error event, or an event that is no chunk.
        """
        for data in self._events.feed(piece):
            text, usage = read_chunk(data)
            if text:
                self.texts.append(arrived)
                self.said.append(text)
            if usage is not None:
                self.prompt_tokens, self.tokens = usage.prompt_tokens, usage.completion_tokens

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


async def stream(
    url: str,
    body: dict[str, Any],
    timeline: Timeline | None = None,
    connections: Connections | None = None,
    *,
    usage: UsageWish = "needed",
    leave_after: int | None = None,
) -> Timeline:
    """Send one request and read its stream to the end.

    Args:
        url: the whole address, `http://host:port/v1/completions` or `.../v1/chat/completions`.
        body: the request; `stream` is added, and `stream_options.include_usage` where usage is wanted.
        timeline: filled while the answer arrives, for callers that watch it.
        connections: where connections are kept; without it the request has one of its own.
        leave_after: texts after which the connection is closed, as by a customer who leaves.

    Raises:
        RequestFailed: an error status, an error event, an answer without text, or one without the usage needed.
        OSError: there is no connection.
    """
    request = body | {"stream": True}
    if usage != "unasked":
        request["stream_options"] = {"include_usage": True}
    timeline = timeline or Timeline(0.0)
    timeline.sent = time.perf_counter()
    async with aclosing(post_stream(url, msgspec.json.encode(request), connections)) as pieces:
        async for arrived, piece in pieces:
            timeline.feed(arrived, piece)
            if leave_after is not None and len(timeline.texts) >= leave_after:
                timeline.ended = arrived
                return timeline
    timeline.ended = time.perf_counter()
    if not timeline.texts:
        raise RequestFailed("The stream ended without text.")
    if usage == "needed" and not timeline.tokens:
        raise RequestFailed("The stream ended without usage.")
    return timeline
