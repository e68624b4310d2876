"""FakeEngine: the `Engine` protocol without a model; answers from a script or echoes the prompt."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.engine.admission import Work
from app.engine.interface import EngineState
from app.engine.messages import (
    FinishReason,
    Ready,
    SamplingParams,
    SequenceOutput,
    SequenceTimings,
    TokenLogprob,
)
from app.engine.stream import RequestStream
from app.errors import ReparteeError
from app.observation import Task

TIMINGS = SequenceTimings(queue=0.001, prefill=0.002, decode=0.003)


@dataclass
class Submitted:
    """One request as the engine got it."""

    stream: RequestStream
    task: Task
    prompt: list[int]
    sampling: SamplingParams
    labels: list[list[int]]
    timeout: float | None
    priority: int
    tenant: str
    cache_salt: str


@dataclass
class FakeEngine:
    """Answers each request on the running event loop, one token an output unless told otherwise.

    Attributes:
        script: token ids of the answer to a prompt; None echoes the prompt.
        scores: label scores of a decision, from its prompt and labels.
        tokens_per_output: tokens that one output brings.
        finish: the end of an answer that `max_tokens` does not cut.
        fail_after: raise `failure` after so many tokens; None never does.
        hold: answers wait for `release()`; with `hold_after` they first give so many tokens.
        refusal: raised by `enter` and `admit`; `entered`, `admitted`: what they were asked; `places`: kept now.
        submitted: all requests in order; `aborted`: ids of those that their readers left; `left`: why they did.
    """

    script: Callable[[list[int]], Sequence[int]] | None = None
    scores: Callable[[list[int], list[list[int]]], list[float]] | None = None
    tokens_per_output: int = 1
    finish: FinishReason = FinishReason.STOP
    fail_after: int | None = None
    failure: ReparteeError | None = None
    hold: bool = False
    hold_after: int = 0
    cached_tokens: int = 0
    refusal: ReparteeError | None = None
    max_model_len: int = 256
    vocab_size: int = 4096
    state: EngineState = EngineState.READY
    making_progress: bool = True
    started: bool = False
    answers: bytes = b""
    entered: list[tuple[Task, str]] = field(default_factory=list)
    places: list[object] = field(default_factory=list)
    admitted: list[Work] = field(default_factory=list)
    submitted: list[Submitted] = field(default_factory=list)
    aborted: list[int] = field(default_factory=list)
    left: list[FinishReason] = field(default_factory=list)
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def info(self) -> Ready | None:
        """What a small model would tell; None while starting."""
        if self.state is EngineState.STARTING:
            return None
        names = ("model", "device", "dtype", "quantization", "cache_dtype", "kernels", "torch")
        values = dict.fromkeys(names, "fake")
        return Ready(
            **values,
            reasons=[],
            max_model_len=self.max_model_len,
            vocab_size=self.vocab_size,
            eos_token_ids=[2],
            block_size=16,
            num_blocks=64,
            parameters=1,
            memory_bytes=1,
        )

    async def start(self, answers: bytes = b"") -> None:
        """Note that the application started, and with what."""
        self.started, self.answers = True, answers

    async def stop(self, drain_seconds: float = 0.0) -> None:
        """Note that the application stopped."""
        self.started = False

    def release(self) -> None:
        """Let held answers go on."""
        self._released.set()

    def enter(self, task: Task, tenant: str) -> Callable[[], None]:
        """See `Engine.enter`."""
        self.entered.append((task, tenant))
        if self.refusal is not None:
            raise self.refusal
        place = object()
        self.places.append(place)
        return lambda: self.places.remove(place) if place in self.places else None

    def admit(self, work: Work) -> None:
        """See `Engine.admit`."""
        self.admitted.append(work)
        if self.refusal is not None:
            raise self.refusal

    def submit(
        self,
        prompt: list[int],
        *,
        task: Task = "chat",
        sampling: SamplingParams = SamplingParams(),  # noqa: B008  (frozen)
        labels: list[list[int]] | None = None,
        timeout: float | None = None,
        priority: int = 0,
        tenant: str = "",
        cache_salt: str = "",
    ) -> RequestStream:
        """See `Engine.submit`."""
        stream = RequestStream(len(self.submitted) + 1, self._abort)
        request = Submitted(
            stream, task, prompt, sampling, labels or [], timeout, priority, tenant, cache_salt
        )
        self.submitted.append(request)
        task = asyncio.get_running_loop().create_task(self._answer(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return stream

    def _abort(self, request_id: int, reason: FinishReason) -> None:
        self.aborted.append(request_id)
        self.left.append(reason)

    async def _answer(self, request: Submitted) -> None:
        if request.labels:
            return self._score(request)
        tokens = list(self.script(request.prompt) if self.script else request.prompt)
        cut = len(tokens) >= request.sampling.max_tokens
        tokens = tokens[: request.sampling.max_tokens]
        step = self.tokens_per_output
        for position in range(0, len(tokens), step):
            if self.hold and position >= self.hold_after:
                await self._released.wait()
            if self.fail_after is not None and position >= self.fail_after and self.failure:
                return request.stream.fail(self.failure)
            await asyncio.sleep(0)
            self._feed(request, tokens[position : position + step], first=position == 0)
        finish = FinishReason.LENGTH if cut else self.finish
        request.stream.feed(
            SequenceOutput(id=request.stream.id, finish_reason=finish, stop_token=2, timings=TIMINGS)
        )

    def _feed(self, request: Submitted, tokens: list[int], *, first: bool) -> None:
        top = request.sampling.logprobs
        logprobs = (
            [] if top is None else [TokenLogprob(t, -0.5, [(t, -0.5), (5, -1.5)][:top]) for t in tokens]
        )
        cached = self.cached_tokens if first else 0
        timings = SequenceTimings(TIMINGS.queue, TIMINGS.prefill, 0.0) if first else None
        request.stream.feed(
            SequenceOutput(
                id=request.stream.id, tokens=tokens, logprobs=logprobs, cached_tokens=cached, timings=timings
            )
        )

    def _score(self, request: Submitted) -> None:
        scores = self.scores or (lambda prompt, labels: [-float(sum(label)) for label in labels])
        request.stream.feed(
            SequenceOutput(
                id=request.stream.id,
                label_scores=scores(request.prompt, request.labels),
                cached_tokens=self.cached_tokens,
                finish_reason=FinishReason.STOP,
                timings=TIMINGS,
            )
        )
