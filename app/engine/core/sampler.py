"""Sampler: logits of the wanted rows to tokens, log-probabilities and label scores."""

import math
from bisect import bisect_left
from collections import Counter
from hashlib import blake2b

import torch

from app.engine.core.ahead import Fate
from app.engine.core.batch import Batch
from app.engine.core.scheduler import ScheduledSequence, StepResult
from app.engine.core.sequence import Sequence
from app.engine.messages import SamplingParams, TokenLogprob
from app.engine.native.log_probabilities import log_probabilities

_NUCLEUS_GUESS = 256
"""Top tokens looked at first for top-p: sorting a whole vocabulary costs more than the forward of a small model."""

_COLDEST = 1e-30
"""Least temperature that is divided by."""


class Sampler:
    """Chooses tokens; each sequence has its own parameters and its own random numbers.

    Random numbers depend on the request's seed and the token's index alone, never on the batch, so a preempted or
    resumed sequence goes on exactly where it was.

    Args:
        eos_token_ids: barred while `min_tokens` are not reached.
        seed: base seed of requests that bring none.
    """

    def __init__(self, eos_token_ids: frozenset[int], seed: int = 0) -> None:
        self._eos = sorted(eos_token_ids)
        self._seed = seed

    def sample(self, batch: Batch, logits: torch.Tensor) -> list[StepResult]:
        """Results of each scheduled sequence from `logits` (wanted rows, vocabulary).

        A row that is not finite, as the model gave it or as the request's own parameters make it, fails its own
        sequence alone. Of a draft's rows only those count whose tokens before were sampled.
        """
        rows_of: list[list[int]] = [[] for _ in batch.scheduled]
        for row, (number, _) in enumerate(batch.owners):
            rows_of[number].append(row)
        scored = all(item.sequence.tree for item in batch.scheduled)  # then nothing is said
        tokens, finite = ([], []) if scored else _greedy(logits)
        results = []
        for item, rows in zip(batch.scheduled, rows_of, strict=True):
            sequence = item.sequence
            if item.draft:
                results.append(self._next_tokens(item, rows, logits, finite, tokens))
            elif sequence.tree:
                fine = not rows or _score_labels(
                    sequence, batch.owners[rows[0]][1], _consecutive(logits, rows)
                )
                results.append(StepResult(failed=not fine))
            elif not all(finite[row] for row in rows):
                results.append(StepResult(failed=True))
            elif rows:
                results.append(self._next_token(sequence, logits[rows[0]], tokens[rows[0]]))
            else:
                results.append(StepResult())
        return results

    def _next_tokens(
        self,
        item: ScheduledSequence,
        rows: list[int],
        logits: torch.Tensor,
        finite: list[bool],
        greedy: list[int],
    ) -> StepResult:
        """The next token and, while it is the draft's, the one behind it: each as if those before it were appended."""
        sequence, tokens = item.sequence, item.sequence.tokens
        plain = sequence.says_likeliest
        confirmed = len(tokens)
        logprobs = list[TokenLogprob]()
        try:
            for row, foretold in zip(rows, (*item.draft, None), strict=True):
                if not finite[row]:
                    break
                if plain:
                    tokens.append(greedy[row])
                else:
                    result = self._next_token(sequence, logits[row], greedy[row])
                    if result.failed:
                        break
                    tokens += result.tokens
                    logprobs += result.logprobs
                if tokens[-1] != foretold:
                    break
            right, drafted = len(tokens) - confirmed - 1, len(item.draft)
            fate = Fate(drafted, right, min(right + 1, drafted), right)
            # A row that fails behind the first one is the next step's to fail, as its first.
            return StepResult(tokens[confirmed:], logprobs, failed=right < 0, fate=fate)
        finally:
            del tokens[confirmed:]

    def _next_token(self, sequence: Sequence, logits: torch.Tensor, greedy: int) -> StepResult:
        params = sequence.request.sampling
        token = greedy
        if not sequence.is_greedy:
            adjusted = self._adjust(sequence, logits.float().clone())
            best, likeliest = adjusted.max(dim=-1)
            if not math.isfinite(float(best)):
                return StepResult(failed=True)
            token = int(likeliest)
            if params.temperature > 0:
                token = _draw(adjusted, params, self._uniform(sequence))
        if params.logprobs is None:
            return StepResult([token])
        return StepResult([token], [_token_logprob(logits, token, params.logprobs)])

    def _adjust(self, sequence: Sequence, logits: torch.Tensor) -> torch.Tensor:
        """Apply bias, penalties and barred tokens to `logits` (vocabulary,) in place."""
        params = sequence.request.sampling
        if params.logit_bias:
            ids = torch.tensor(list(params.logit_bias), device=logits.device)
            logits[ids] += torch.tensor(list(params.logit_bias.values()), device=logits.device)
        if params.repetition_penalty != 1.0:
            seen = torch.tensor(sorted(set(sequence.tokens)), device=logits.device)
            values = logits[seen]
            penalty = params.repetition_penalty
            logits[seen] = torch.where(values > 0, values / penalty, values * penalty)
        if params.frequency_penalty or params.presence_penalty:
            counts = Counter(sequence.tokens[sequence.prompt_length :])
            if counts:
                ids = torch.tensor(list(counts), device=logits.device)
                times = torch.tensor(list(counts.values()), dtype=logits.dtype, device=logits.device)
                logits[ids] -= params.frequency_penalty * times + params.presence_penalty
        if sequence.num_generated < params.min_tokens:
            logits[self._eos + params.stop_token_ids] = -math.inf
        return logits

    def _uniform(self, sequence: Sequence) -> float:
        """The random number in [0, 1) for the sequence's next token."""
        seed = sequence.request.sampling.seed
        source = f"seed {seed}" if seed is not None else f"request {self._seed} {sequence.id}"
        digest = blake2b(f"{source} {sequence.num_generated}".encode(), digest_size=8).digest()
        return (int.from_bytes(digest) >> 11) / 2**53  # 53 bits: more would round up to 1


def _greedy(logits: torch.Tensor) -> tuple[list[int], list[bool]]:
    """The likeliest token of each row, and whether the row is finite.

    On the CPU through numpy, whose argmax takes a quarter of the time of PyTorch's.
    """
    if logits.device.type == "cpu" and logits.dtype is torch.float32:
        numbers = logits.numpy()
        likeliest = numbers.argmax(axis=-1)  # of a row with a NaN, the NaN's place
        tokens = likeliest.tolist()
        return tokens, [math.isfinite(numbers[row, token]) for row, token in enumerate(tokens)]
    best, greedy = logits.max(dim=-1)
    return greedy.tolist(), torch.isfinite(best).tolist()


def _consecutive(logits: torch.Tensor, rows: list[int]) -> torch.Tensor:
    """Rows that stand one after another, as a sequence's do, without a copy."""
    return logits[rows[0] : rows[-1] + 1]


def _draw(logits: torch.Tensor, params: SamplingParams, uniform: float) -> int:
    """Draw from the tempered and truncated distribution by inverting its cumulative sum.

    The order is temperature, top-k, top-p, min-p, as in transformers.
    """
    # Less the maximum, and no colder than float32 can divide by: the coldest is greedy, never NaN.
    probabilities = ((logits - logits.max()) / max(params.temperature, _COLDEST)).softmax(-1)
    ids: torch.Tensor | None = None
    if 0 < params.top_k < probabilities.numel():
        probabilities, ids = probabilities.topk(params.top_k)
        probabilities = probabilities / probabilities.sum()
    if params.top_p < 1.0:
        probabilities, ids = _nucleus(probabilities, ids, params.top_p)
    if params.min_p > 0.0:
        probabilities = probabilities.where(probabilities >= params.min_p * probabilities.max(), 0.0)
    cumulative = probabilities.double().cumsum(0)
    index = int(torch.searchsorted(cumulative, uniform * float(cumulative[-1]), right=True))
    index = min(index, cumulative.numel() - 1)
    return index if ids is None else int(ids[index])


def _nucleus(
    probabilities: torch.Tensor, ids: torch.Tensor | None, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest tokens whose mass reaches `top_p`, with their ids; at least one."""
    count = min(_NUCLEUS_GUESS, probabilities.numel())
    values, order = probabilities.topk(count)
    if float(values.sum()) < top_p and count < probabilities.numel():
        values, order = probabilities.sort(descending=True)
    keep = int((values.cumsum(0) - values < top_p).sum())
    kept = order[: max(1, keep)]
    return values[: max(1, keep)], kept if ids is None else ids[kept]


def _token_logprob(logits: torch.Tensor, token: int, count: int) -> TokenLogprob:
    logprobs = logits.float().log_softmax(-1)
    top: list[tuple[int, float]] = []
    if count:
        values, ids = logprobs.topk(count)
        top = list(zip(ids.tolist(), values.tolist(), strict=True))
    return TokenLogprob(token, float(logprobs[token]), top)


def _score_labels(sequence: Sequence, first: int, logits: torch.Tensor) -> bool:
    """Keep the log-probabilities of the label tokens that rows from index `first` on predict; False if one fails."""
    assert sequence.tree is not None
    tree, row = sequence.tree, first - sequence.prompt_length
    begin, end = bisect_left(tree.rows, row), bisect_left(tree.rows, row + len(logits))
    rows = [each - row for each in tree.rows[begin:end]]
    sequence.label_logprobs[begin:] = log_probabilities(logits, rows, tree.predicted[begin:end])
    return not any(map(math.isnan, sequence.label_logprobs[begin:]))
