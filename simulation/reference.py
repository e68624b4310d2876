"""Reference answers: what a request gets when nothing disturbs it, found without a scheduler, a cache or a batch."""

from dataclasses import dataclass, field

import torch

from app.engine.core.batch import Batch
from app.engine.core.sampler import Sampler
from app.engine.core.scheduler import ScheduledSequence
from app.engine.core.sequence import Sequence
from app.engine.messages import AddRequest, FinishReason, TokenLogprob
from simulation.virtual_model import (
    EOS,
    LIKELIEST,
    LOG_PROBABILITIES,
    LOGITS,
    NAN_ROW,
    NOT_FINITE,
    POISON,
    Prefix,
)


@dataclass(frozen=True)
class Answer:
    """All that the engine may say to one request.

    Attributes:
        reason: of its end, unless its reader leaves or its deadline passes before.
        scores: of a decision, one a label.
    """

    reason: FinishReason
    tokens: list[int] = field(default_factory=list)
    stop_token: int | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


_FAILED = Answer(FinishReason.FAILED)


class Reference:
    """Answers of the virtual model.

    Args:
        max_model_len, cache_tokens: longest sequence, and what the cache holds, in tokens.
    """

    def __init__(self, max_model_len: int, cache_tokens: int) -> None:
        self._max_model_len = max_model_len
        self._cache_tokens = cache_tokens
        self._sampler = Sampler(frozenset([EOS]))

    def answer(self, request: AddRequest) -> Answer:
        """What `request` gets; FAILED for one that cannot run, or over whose tokens the model fails."""
        longest = len(request.prompt) + max((len(label) - 1 for label in request.labels), default=0)
        if not request.prompt or not all(request.labels) or longest > self._max_model_len:
            return _FAILED
        tokens = Sequence.of(request, 0.0).tokens
        if len(tokens) > self._cache_tokens or not {POISON, NOT_FINITE}.isdisjoint(tokens):
            return _FAILED
        return self._decision(request) if request.labels else self._chat(request)

    def _decision(self, request: AddRequest) -> Answer:
        prompt = Prefix(request.prompt)
        scores = []
        for label in request.labels:
            prefix, score = prompt.copy(), 0.0
            for token in label:
                score += float(LOG_PROBABILITIES[prefix.row, token])
                prefix.append(token)
            scores.append(score)
        return Answer(FinishReason.STOP, scores=scores)

    def _chat(self, request: AddRequest) -> Answer:
        sampling = request.sampling
        stops = set(sampling.stop_token_ids) | (set() if sampling.ignore_eos else {EOS})
        prefix, sequence = Prefix(request.prompt), Sequence.of(request, 0.0)
        plain = sequence.says_likeliest and not sampling.min_tokens
        logprobs = list[TokenLogprob]()
        while True:
            if plain:
                token = LIKELIEST[prefix.row]
            else:
                token, *with_it = self._sample(sequence, prefix.row)
                logprobs += with_it
            if token in stops:
                said = sequence.tokens[len(request.prompt) :]
                return Answer(FinishReason.STOP, said, token, logprobs[: len(said)])
            sequence.tokens.append(token)
            prefix.append(token)
            if sequence.num_generated >= sampling.max_tokens or len(sequence.tokens) >= self._max_model_len:
                return Answer(FinishReason.LENGTH, sequence.tokens[len(request.prompt) :], None, logprobs)

    def _sample(self, sequence: Sequence, row: int) -> tuple[int, *tuple[TokenLogprob, ...]]:
        assert row != NAN_ROW
        batch = Batch.of([ScheduledSequence(sequence, len(sequence.tokens) - 1, 1)])
        (result,) = self._sampler.sample(batch, torch.from_numpy(LOGITS[[row]]))
        return result.tokens[0], *result.logprobs
