"""Answers questions about texts with probabilities: each is one engine request that ends at prefill."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from app.engine.admission import Work
from app.engine.interface import Engine
from app.engine.label_tree import build_label_tree
from app.engine.messages import SequenceTimings
from app.engine.stream import RequestStream
from app.errors import (
    CacheSizeExceeded,
    ContextLengthExceeded,
    DeadlineExceeded,
    InvalidRequest,
    SequenceFailed,
)
from app.observation import Decision, Observation
from app.services import aside
from app.services.chat_template import Message
from app.services.decision_prompts import DecisionPrompts
from app.services.label_scores import choice_confidence, label_mass, score_confidence, softmax
from app.services.questions import Label, Question
from app.services.tokenizer import Tokenizer
from app.settings import Settings

MOST_CHARACTERS_PER_TOKEN = 64
"""Text longer than this many characters for each token of context is refused without being tokenized."""
LABELS_KEPT = 4_096
"""Labels whose token ids are kept: clients ask with the same ones again and again."""
YIELD_LABELS = 64
"""Queries of more labels are submitted in turns with what else the event loop has to do."""
INLINE_CHARACTERS = 4_000
"""Up to so much text is tokenized on the event loop: less than a thread hop costs at the tail."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question about one text.

    Attributes:
        param: the request field that the text came from.
        question_param: the one that the question's instructions came from.
    """

    question: Question
    text: str
    param: str = "input"
    question_param: str = "instructions"

    @property
    def longest(self) -> tuple[int, str]:
        """Characters and field of what is long about it, where it is too long."""
        return max((len(self.text), self.param), (len(self.question.instructions or ""), self.question_param))

    @property
    def size(self) -> int:
        """Characters that the model reads, about."""
        labels = sum(len(label.text) + len(label.description or "") for label in self.question.labels)
        return len(self.text) + len(self.question.instructions or "") + labels


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer to one query.

    Attributes:
        scores: log-probability of each label after the prompt.
        probabilities: the scores over the label set, tempered and normalised to 1.
        label_mass: probability of all labels together before that, 0 to 1.
        prompt_tokens, cached_tokens: length of the prompt, and how much of it the prefix cache served.
    """

    scores: list[float]
    probabilities: list[float]
    label_mass: float
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class _Encoded:
    prompt: list[int]
    labels: list[list[int]]


class DecisionService:
    """Puts questions to the engine and reads label scores as probabilities.

    Args:
        engine: scores the labels.
        tokenizer: text to token ids, those of the labels included.
        settings: bounds and the default deadline.
        prompts: the model's prompt forms.
    """

    def __init__(
        self, engine: Engine, tokenizer: Tokenizer, settings: Settings, prompts: DecisionPrompts
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._settings = settings
        self._prompts = prompts
        self._ids_of_label = lru_cache(maxsize=LABELS_KEPT)(self._encode_label)

    @cached_property
    def _turn_end(self) -> int:
        """Found at the first decision: a model without a chat template still serves completions."""
        return turn_end(self._tokenizer)

    @property
    def max_labels(self) -> int:
        """Most labels of one question."""
        return self._settings.max_labels

    def yes_no(self, yes: str | None = None, no: str | None = None) -> tuple[Label, Label]:
        """The model's labels of a yes/no question, with what they mean here."""
        return Label(self._prompts.true, yes or None), Label(self._prompts.false, no or None)

    async def judge(
        self,
        queries: Sequence[Query],
        observation: Observation,
        *,
        timeout: float | None = None,
        tenant: str = "",
        cache_salt: str = "",
    ) -> list[Judgement]:
        """Answer all queries, submitted at once so that they share batches and prefixes.

        Args:
            timeout: seconds to the deadline; None takes the server's default.
            tenant: who asks.
            cache_salt: queries share cached prefixes only under equal salts.

        Raises:
            InvalidRequest: a text is empty, the queries are more than the queue can ever hold, or the model has no
                chat template that takes them.
            ContextLengthExceeded: a prompt does not fit, or not with its labels.
            Unavailable, DeadlineExceeded, EngineFailure: as the engine says; no query is left running.
        """
        if observation.parse is None:
            observation.parse = observation.elapsed()
        self._check(queries)
        started = time.perf_counter()
        encoded = await self._encode(queries, tenant)
        observation.tokenize = time.perf_counter() - started
        deadline = self._settings.request_timeout_seconds if timeout is None else timeout
        remaining = deadline - observation.elapsed()
        if remaining <= 0:
            raise DeadlineExceeded
        tokens = sum(len(item.prompt) + sum(map(len, item.labels)) for item in encoded)
        observation.place()
        self._engine.admit(Work("decision", tenant, sequences=len(encoded), tokens=tokens, timeout=remaining))
        streams: list[RequestStream] = []
        try:
            for item in encoded:
                stream = self._engine.submit(
                    item.prompt,
                    task="decision",
                    labels=item.labels,
                    timeout=remaining,
                    tenant=tenant,
                    cache_salt=cache_salt,
                )
                streams.append(stream)
                if len(item.labels) > YIELD_LABELS:
                    await asyncio.sleep(0)
            observation.prompt_tokens = sum(len(item.prompt) for item in encoded)  # admitted: charged
            # Each stream keeps its outputs until they are read, so reading in order loses no time.
            judgements = [
                await self._read(stream, item, observation)
                for stream, item in zip(streams, encoded, strict=True)
            ]
        finally:
            for stream in streams:
                stream.close()
        observation.finish_reason = "stop"
        observation.decisions = list(map(_decision, queries, judgements))
        return judgements

    def _check(self, queries: Sequence[Query]) -> None:
        if len(queries) > self._settings.max_waiting:
            raise InvalidRequest(
                "The request asks more questions at once than this server takes.", queries[0].param
            )
        limit = self._context()
        for query in queries:
            if not query.text.strip():
                raise InvalidRequest("The text must not be empty.", query.param)
            size, param = query.longest
            if limit and size > limit * MOST_CHARACTERS_PER_TOKEN:
                raise ContextLengthExceeded(limit, param)

    def _context(self) -> int:
        """Longest sequence in tokens; 0 while it is not known (the engine then refuses anyway)."""
        return self._engine.info.max_model_len if self._engine.info else 0

    def _capacity(self) -> int:
        """Tokens that the KV cache holds, as those of one question do at the same time; 0 while it is not known."""
        info = self._engine.info
        return info.num_blocks * info.block_size if info else 0

    async def _encode(self, queries: Sequence[Query], tenant: str) -> list[_Encoded]:
        if sum(query.size for query in queries) <= INLINE_CHARACTERS:
            return self._encode_all(queries, tenant)
        return await aside.prompts(self._encode_all, queries, tenant)

    def _encode_all(self, queries: Sequence[Query], tenant: str) -> list[_Encoded]:
        return [self._encode_one(query, tenant) for query in queries]

    def _encode_one(self, query: Query, tenant: str) -> _Encoded:
        messages = self._prompts.messages(query.question, query.text)
        try:
            prompt = self._tokenizer.encode_prompt(messages, tenant)
        except InvalidRequest as error:  # it speaks of messages, which are ours and not the client's
            raise InvalidRequest(error.message, query.param) from error
        labels = [self._ids_of_label(label.text) for label in query.question.labels]
        self._check_length(len(prompt), labels, query)
        if len({tuple(ids) for ids in labels}) < len(labels):
            raise InvalidRequest("Two labels are the same to this model.", "labels")
        return _Encoded(prompt, labels)

    def _encode_label(self, text: str) -> list[int]:
        return [*self._tokenizer.encode(text), self._turn_end]

    def _check_length(self, prompt: int, labels: list[list[int]], query: Query) -> None:
        """Refuse what the engine could never run: each label follows the prompt, and all lie in the cache at once."""
        limit, capacity = self._context(), self._capacity()
        lengths = [len(ids) for ids in labels]
        if limit and prompt + max(lengths) > limit:
            raise ContextLengthExceeded(limit, query.longest[1])
        if not capacity or prompt + sum(lengths) <= capacity:
            return
        if prompt + len(build_label_tree(labels).tokens) > capacity:  # what labels share is stored once
            raise CacheSizeExceeded(capacity, query.param)

    async def _read(self, stream: RequestStream, item: _Encoded, observation: Observation) -> Judgement:
        scores: list[float] = []
        cached = 0
        async for output in stream:
            scores = output.label_scores or scores
            cached += output.cached_tokens
            if output.timings is not None:
                _note_stages(observation, output.timings)
        if len(scores) != len(item.labels) or not all(math.isfinite(score) for score in scores):
            raise SequenceFailed
        observation.cached_tokens += cached
        return Judgement(
            scores=scores,
            probabilities=softmax(scores, self._prompts.temperature),
            label_mass=label_mass(scores),
            prompt_tokens=len(item.prompt),
            cached_tokens=cached,
        )


def _decision(query: Query, judgement: Judgement) -> Decision:
    """What the metrics count of an answer; only a choice among the client's own labels has a position."""
    question, probabilities = query.question, judgement.probabilities
    confidence = score_confidence if question.type == "score" else choice_confidence
    position = probabilities.index(max(probabilities)) + 1 if question.form == "choice" else None
    return Decision(question.type, judgement.label_mass, confidence(probabilities), position)


def turn_end(tokenizer: Tokenizer) -> int:
    """The token that ends an assistant's turn in the model's chat template.

    Models list several end tokens; they learned the one that the template itself writes after an answer. Where the
    model's files list none, it is the first control token there.

    Raises:
        InvalidRequest: the model has no chat template, or nothing ends a turn.
    """
    asked = Message(role="user", content="a")
    turns = [asked, Message(role="assistant", content="b"), asked]
    answer = tokenizer.encode_prompt(turns)[len(tokenizer.encode_prompt([asked])) :]
    ends = tokenizer.eos_token_ids
    known = [token for token in answer if token in ends] + list(ends)
    control = [token for token in answer if token in tokenizer.special_ids]
    if not (known or control):
        raise InvalidRequest("This model's chat template has no token that ends a turn.")
    return (known or control)[0]


def _note_stages(observation: Observation, timings: SequenceTimings) -> None:
    """Keep the slowest query's stages."""
    observation.queue = max(observation.queue or 0.0, timings.queue)
    observation.prefill = max(observation.prefill or 0.0, timings.prefill)
