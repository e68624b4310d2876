"""Generation: the sequences of one request, open in the engine, read as pieces of text."""

import time
from collections.abc import AsyncGenerator, Sequence

from app.engine.admission import Work
from app.engine.interface import Engine
from app.engine.messages import FinishReason, SequenceOutput, SequenceTimings
from app.engine.stream import RequestStream, wait_for_any
from app.errors import DeadlineExceeded
from app.observation import Observation
from app.services.answer import Answer, Finish, Piece
from app.services.options import GenerationOptions
from app.services.tokenizer import Tokenizer

_MOST_TELLING: tuple[Finish, ...] = ("content_filter", "length", "stop")


class Generation:
    """`n` answers to each prompt of one request; answer `i` belongs to prompt `i // n`.

    Reading `pieces()` to its end, or closing it, leaves nothing open in the engine; a generation that is
    never read must be closed with `close()`.
    """

    def __init__(
        self, answers: Sequence[Answer], n: int, prompt_tokens: int, observation: Observation
    ) -> None:
        self.answers = answers
        self.n = n
        self.observation = observation
        observation.prompt_tokens = self.prompt_tokens = prompt_tokens
        self.cached_tokens = 0

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far, of all answers."""
        return sum(answer.tokens for answer in self.answers)

    @property
    def size(self) -> int:
        """Number of answers."""
        return len(self.answers)

    @property
    def finished(self) -> bool:
        """Whether every answer has its finish reason."""
        return all(answer.finish_reason for answer in self.answers)

    async def pieces(self) -> AsyncGenerator[list[Piece], None]:
        """What each wake-up brought, one piece an answer at most, until every answer has its finish reason.

        However much came while the reader was busy, it is one piece. A failure is raised after what came before it.

        Raises:
            DeadlineExceeded: the deadline passed before the first token.
            EngineFailure: the engine could not finish.
        """
        reading = list(self.answers)
        try:
            while reading:
                await wait_for_any(answer.stream for answer in reading)
                if pieces := self._take(reading):
                    yield pieces
                reading = [answer for answer in reading if not answer.stream.exhausted]
        finally:
            self.close()

    def close(self) -> None:
        """End whatever is still running in the engine."""
        for answer in self.answers:
            answer.stream.close()
        self._note_end()

    def _take(self, reading: Sequence[Answer]) -> list[Piece]:
        started = time.perf_counter()
        pieces = list[Piece]()
        for answer in reading:
            if outputs := answer.stream.take_ready():
                for output in outputs:
                    self._note(answer.index, output)
                if (piece := answer.take(outputs)) is not None:
                    pieces.append(piece)
        observation = self.observation
        observation.detokenize = (observation.detokenize or 0.0) + time.perf_counter() - started
        if any(piece.finish_reason for piece in pieces):
            self._note_end()
        return pieces

    def _note(self, index: int, output: SequenceOutput) -> None:
        observation = self.observation
        ended = output.finish_reason is not None
        if observation.first_token is None and (output.tokens or ended):
            observation.first_token = observation.elapsed()  # an answer may end with its first token
        if index % self.n == 0:  # the others share the prompt with the first answer to it
            self.cached_tokens += output.cached_tokens
        if output.timings is not None:
            _note_slowest(observation, output.timings, ended=ended)
        observation.deadline_exceeded |= output.finish_reason is FinishReason.DEADLINE

    def _note_end(self) -> None:
        observation = self.observation
        observation.cached_tokens = self.cached_tokens
        observation.generated_tokens = self.completion_tokens
        observation.longest_gap = max((answer.stream.longest_gap for answer in self.answers), default=0.0)
        finishes = {answer.finish_reason for answer in self.answers}
        if None not in finishes:
            observation.finish_reason = next(reason for reason in _MOST_TELLING if reason in finishes)
            gaps = [answer.token_gap for answer in self.answers if answer.token_gap is not None]
            observation.token_gap = max(gaps, default=None)
            if observation.decode is None and observation.first_token is not None:
                observation.decode = observation.elapsed() - observation.first_token


def _note_slowest(observation: Observation, timings: SequenceTimings, *, ended: bool) -> None:
    observation.queue = max(observation.queue or 0.0, timings.queue)
    observation.prefill = max(observation.prefill or 0.0, timings.prefill)
    if ended:
        observation.decode = max(observation.decode or 0.0, timings.decode)


def open_generation(
    engine: Engine,
    tokenizer: Tokenizer,
    prompts: Sequence[list[int]],
    max_tokens: Sequence[int],
    options: GenerationOptions,
    observation: Observation,
    timeout: float,
) -> Generation:
    """Submit every sequence of a request: all of them, or none.

    Args:
        max_tokens: most tokens of each prompt's answers.
        timeout: seconds from the request's arrival to its deadline.

    Raises:
        DeadlineExceeded: the deadline passed already.
        Unavailable: the engine refuses.
    """
    remaining = timeout - observation.elapsed()
    if remaining <= 0:
        raise DeadlineExceeded
    task = observation.task or "chat"
    observation.place()
    engine.admit(
        Work(
            task=task,
            tenant=options.tenant,
            sequences=len(prompts) * options.n,
            tokens=sum(map(len, prompts)) * options.n,
            priority=options.priority,
            timeout=remaining,
        )
    )
    streams = list[RequestStream]()
    try:
        for prompt, most in zip(prompts, max_tokens, strict=True):
            for choice in range(options.n):
                sampling = options.sampling_of(choice, most)
                streams.append(
                    engine.submit(
                        prompt,
                        task=task,
                        sampling=sampling,
                        timeout=remaining,
                        priority=options.priority,
                        tenant=options.tenant,
                        cache_salt=options.cache_salt,
                    )
                )
    except BaseException:
        for stream in streams:
            stream.close()
        raise
    answers = [Answer(i, stream, tokenizer, options.stop) for i, stream in enumerate(streams)]
    return Generation(answers, options.n, sum(map(len, prompts)), observation)
