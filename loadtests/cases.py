"""What is measured on a running server: speed at a number of streams, gaps under a long prompt, classification."""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec

from loadtests.client import Timeline, stream
from loadtests.http_stream import RequestFailed, post
from loadtests.prompts import LABELS, letters, question

Figures = dict[str, float]
_STREAMING_TEXTS = 4
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Endpoint:
    """Where and how a server is asked.

    Attributes:
        base: `http://host:port`.
        chat: whether it is asked for chats (texts of a customer) or completions (random letters).
        extra: fields of this server's own, sent with every request.
        limit: seconds after which a stream is cut and counted as far as it came.
    """

    base: str
    model: str
    chat: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    limit: float = 300.0
    chooser: random.Random = field(default_factory=random.Random)

    async def generate(
        self, prompt_tokens: int, new_tokens: int, timeline: Timeline | None = None
    ) -> Timeline:
        """One stream of `new_tokens` greedy tokens.

        Raises:
            RequestFailed: refused, broken off, fewer than two texts within the limit, or another length of prompt.
        """
        timeline = timeline or Timeline(0.0)
        body = {"model": self.model, "temperature": 0.0, "max_tokens": new_tokens} | self.extra
        if self.chat:
            path = "/v1/chat/completions"
            body["messages"] = [{"role": "user", "content": question(self.chooser)}]
        else:
            path = "/v1/completions"
            body["prompt"] = letters(prompt_tokens, self.chooser)
        try:
            async with asyncio.timeout(self.limit):
                await stream(self.base + path, body, timeline)
        except TimeoutError:
            _cut(timeline, self.limit)
        else:
            if not self.chat and timeline.prompt_tokens != prompt_tokens:
                raise RequestFailed(
                    f"The prompt had {timeline.prompt_tokens} tokens instead of {prompt_tokens}."
                )
        return timeline


def _cut(timeline: Timeline, limit: float) -> None:
    if len(timeline.texts) < 2:
        raise RequestFailed(f"No two tokens within {limit:.0f} s.")
    timeline.tokens = len(timeline.texts)
    timeline.ended = timeline.texts[-1]


async def speed(endpoint: Endpoint, streams: int, prompt_tokens: int, new_tokens: int) -> Figures:
    """Speed of `streams` equal requests sent at once."""
    work = [endpoint.generate(prompt_tokens, new_tokens) for _ in range(streams)]
    return speed_figures(await asyncio.gather(*work))


def speed_figures(timelines: Sequence[Timeline]) -> Figures:
    """Figures of streams that ran together.

    `tok/s` is all tokens over the whole time, prefill included; `decode tok/s` the tokens of the time in which
    every stream decoded (absent where they never all did); `TTFT ms` and `gap ms` are medians.
    """
    started = min(timeline.sent for timeline in timelines)
    ended = max(timeline.ended for timeline in timelines)
    figures = {
        "TTFT ms": statistics.median(timeline.ttft for timeline in timelines) * 1e3,
        "tok/s": sum(timeline.tokens for timeline in timelines) / (ended - started),
    }
    begin = max(timeline.texts[0] for timeline in timelines)
    end = min(timeline.texts[-1] for timeline in timelines)
    gaps = [gap for timeline in timelines for gap in timeline.gaps]
    if end > begin:
        figures["decode tok/s"] = sum(_tokens_between(timeline, begin, end) for timeline in timelines) / (
            end - begin
        )
    if gaps:
        figures["gap ms"] = statistics.median(gaps) * 1e3
    return figures


def _tokens_between(timeline: Timeline, begin: float, end: float) -> float:
    """Tokens after `begin` up to `end`; where several share one text, they are spread evenly."""
    return sum(begin < at <= end for at in timeline.texts) * timeline.tokens / len(timeline.texts)


async def long_prompt(
    endpoint: Endpoint, streams: int, prompt_tokens: int, new_tokens: int, long: int
) -> Figures:
    """Gaps of decoding streams while a prompt of `long` tokens is prefilled beside them.

    Raises:
        RequestFailed: the streams ended before they could be disturbed.
    """
    timelines = [Timeline(0.0) for _ in range(streams)]
    tasks = [asyncio.create_task(endpoint.generate(prompt_tokens, new_tokens, one)) for one in timelines]
    try:
        while not all(len(timeline.texts) >= _STREAMING_TEXTS for timeline in timelines):
            ended = [task.result() for task in tasks if task.done()]
            if ended:
                raise RequestFailed("The streams ended before the long prompt came.")
            await asyncio.sleep(_POLL_SECONDS)
        intruder = await endpoint.generate(long, 1)
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return gap_figures(timelines, intruder)


def gap_figures(timelines: Sequence[Timeline], intruder: Timeline) -> Figures:
    """Gaps that touch the time from the intruder's sending to its first token.

    Raises:
        RequestFailed: no stream decoded in that time.
    """
    gaps = [
        later - earlier
        for timeline in timelines
        for earlier, later in pairwise(timeline.arrivals)
        if later > intruder.sent and earlier < intruder.texts[0]
    ]
    if not gaps:
        raise RequestFailed("No stream decoded while the long prompt was prefilled.")
    return {
        "longest gap ms": max(gaps) * 1e3,
        "median step ms": statistics.median(gaps) * 1e3,
        "gap ratio": max(gaps) / statistics.median(gaps),
        "prefill tok/s": intruder.prompt_tokens / intruder.ttft,
    }


async def classify(endpoint: Endpoint, repetitions: int) -> Figures:
    """Median of one text against twenty labels, one request after another."""

    async def once() -> float:
        body = {"model": endpoint.model, "input": question(endpoint.chooser), "labels": LABELS}
        started = time.perf_counter()
        await post(endpoint.base + "/v1/classify", msgspec.json.encode(body))
        return time.perf_counter() - started

    await once()
    return {"classify p50 ms": statistics.median([await once() for _ in range(repetitions)]) * 1e3}


def named(prefix: str, figures: Figures) -> Figures:
    """The figures under `prefix`."""
    return {f"{prefix} {name}": value for name, value in figures.items()}
