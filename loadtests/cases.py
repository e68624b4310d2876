"""What is measured on a running server: speed at a number of streams, first tokens, gaps under long prompts, labels."""

import asyncio
import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec

from app.bench.client import Timeline, stream
from app.bench.http_stream import RequestFailed, post
from app.services.chat_template import Message
from app.services.tokenizer import Tokenizer
from loadtests.prompts import LABELS, letters, question

Figures = dict[str, float]
_STREAMING_TEXTS = 2
_POLL_SECONDS = 0.001
_FIRST_TOKENS = (
    4  # generated where the first is timed: a server holds back the text of one that is half a character
)


@dataclass(frozen=True)
class Endpoint:
    """Where and how a server is asked.

    Attributes:
        base: `http://host:port`.
        chat: whether it is asked for chats (texts of a customer) or completions (random letters).
        tokenizer: with one, the chats' prompts are sent as token ids, so that every server gets the same ones.
        extra: fields of this server's own, sent with every request.
        limit: seconds after which a stream is cut and counted as far as it came.
    """

    base: str
    model: str
    chat: bool = False
    tokenizer: Tokenizer | None = None
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
        path = "/v1/completions"
        if self.tokenizer:
            ids = self.tokenizer.encode_prompt([Message("user", question(self.chooser))])
            body["prompt"], prompt_tokens = ids, len(ids)
        elif self.chat:
            path = "/v1/chat/completions"
            body["messages"] = [{"role": "user", "content": question(self.chooser)}]
        else:
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


async def first_tokens(endpoint: Endpoint, lengths: Sequence[int], repetitions: int) -> Figures:
    """Median time to the first token of one stream, by the length of its prompt."""
    found: Figures = {}
    for length in lengths:
        alone = [await endpoint.generate(length, _FIRST_TOKENS) for _ in range(repetitions)]
        found[first_token_figure(length)] = statistics.median(timeline.ttft for timeline in alone) * 1e3
    return found


def first_token_figure(length: int) -> str:
    """Name of the figure for prompts of `length` tokens."""
    return f"TTFT ms, {length:,} tokens"


async def long_prompts(
    endpoint: Endpoint, streams: int, prompt_tokens: int, new_tokens: int, long: int, count: int
) -> Figures:
    """Gaps of decoding streams while `count` prompts of `long` tokens are prefilled beside them, one after another.

    Raises:
        RequestFailed: the streams ended before they could be disturbed.
    """
    timelines = [Timeline(0.0) for _ in range(streams)]
    tasks = [asyncio.create_task(endpoint.generate(prompt_tokens, new_tokens, one)) for one in timelines]
    try:
        while not all(len(timeline.texts) >= _STREAMING_TEXTS for timeline in timelines):
            ended = [task.result() for task in tasks if task.done()]
            if ended:
                raise RequestFailed("The streams ended before the long prompts came.")
            await asyncio.sleep(_POLL_SECONDS)
        intruders = [await endpoint.generate(long, 1) for _ in range(count)]
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return gap_figures(timelines, intruders)


def gap_figures(timelines: Sequence[Timeline], intruders: Sequence[Timeline]) -> Figures:
    """Gaps that touch the time from the first intruder's sending to the last one's first token, and beside them the
    median of all others once every stream decodes (absent where there are none).

    Raises:
        RequestFailed: no stream decoded in that time.
    """
    begin, end = intruders[0].sent, intruders[-1].texts[0]
    all_decode = max(timeline.texts[0] for timeline in timelines)
    gaps, others = [], []
    for earlier, later in (pair for timeline in timelines for pair in pairwise(timeline.arrivals)):
        if later > begin and earlier < end:
            gaps.append(later - earlier)
        elif earlier >= all_decode:
            others.append(later - earlier)
    if not gaps:
        raise RequestFailed("No stream decoded while the long prompts were prefilled.")
    median, p99 = statistics.median(gaps), _percentile(gaps, 0.99)
    found = {
        "longest gap ms": max(gaps) * 1e3,
        "p99 gap ms": p99 * 1e3,
        "median step ms": median * 1e3,
        "gap ratio": max(gaps) / median,
        "p99 gap ratio": p99 / median,
        "prefill tok/s": statistics.median(one.prompt_tokens / one.ttft for one in intruders),
    }
    return found | ({"undisturbed step ms": statistics.median(others) * 1e3} if others else {})


def _percentile(values: Sequence[float], share: float) -> float:
    """The least value that `share` of all do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


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


def medians(runs: Sequence[Figures]) -> Figures:
    """The median of each figure over those runs that have it."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: statistics.median(run[name] for run in runs if name in run) for name in names}
