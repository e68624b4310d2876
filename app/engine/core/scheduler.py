"""Scheduler: which sequences run in the next step, with how many tokens, and what became of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.engine.core.ahead import Burst, Draft, Fate
from app.engine.core.block_manager import BlockManager, require
from app.engine.core.sequence import Sequence, SequenceStatus
from app.engine.core.waiting_queue import GENERATED_WEIGHT, WaitingQueue
from app.engine.messages import FinishReason, SequenceOutput, TokenLogprob


@dataclass(frozen=True, slots=True)
class ScheduledSequence:
    """A sequence's share of a step: `length` tokens from index `start` on are computed.

    Attributes:
        draft: the last of these tokens, where they are none of the sequence's yet but are foretold to be.
        burst: where the step has several rounds; this is the first.
    """

    sequence: Sequence
    start: int
    length: int
    draft: tuple[int, ...] = ()
    burst: Burst | None = None

    @property
    def end(self) -> int:
        """Index behind the last of the sequence's own tokens that are computed."""
        return self.start + self.length - len(self.draft)

    @property
    def catches_up(self) -> bool:
        """Whether the sequence has no uncomputed token after this step."""
        return self.end == len(self.sequence.tokens)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What the model made of one scheduled sequence.

    Attributes:
        tokens: the sampled tokens, where a chat sequence caught up: one, and one more for each token of its draft
            that was sampled before, or those of a burst.
        logprobs: their log-probabilities, where they were asked for.
        failed: the forward pass or its logits failed for this sequence.
        fate: of its draft, where it had one.
    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    failed: bool = False
    fate: Fate | None = None


class Speculation(Protocol):
    """What the scheduler needs of a Speculator."""

    def drafts(self, sequences: list[Sequence], room: int, rounds: int) -> Mapping[int, Draft]: ...
    def look_again(self, sequences: int, rounds: int) -> int: ...
    def verified(self, sequence: Sequence, fate: Fate) -> None: ...
    def forget(self, sequence: Sequence) -> None: ...


_NO_DRAFT = Draft()


class Scheduler:
    """Hands out a token budget a step: decodes first, then prompts in chunks.

    There are no phases: each sequence has tokens and computed tokens, and a step lets the second catch up with the
    first. When blocks run out, the last of the running sequences in queue order is preempted: it gives back its
    blocks and is computed again later. A pure state machine: the clock is passed in.

    Args:
        blocks: the owner of the KV cache's blocks.
        max_batch_tokens: tokens in one step.
        max_running: sequences in one step.
        prefill_chunk: prompt tokens in one step while other sequences decode (bounds their inter-token gap).
        eos_token_ids: tokens that end any sequence which does not ignore them.
        max_model_len: longest sequence in tokens.
        speculation: where drafts for decoding sequences come from; without it there are none.
        rounds: how many rounds a burst of so many sequences with so many tokens may have; without it there are no
            bursts.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        blocks: BlockManager,
        *,
        max_batch_tokens: int,
        max_running: int,
        prefill_chunk: int,
        eos_token_ids: frozenset[int],
        max_model_len: int,
        speculation: Speculation | None = None,
        rounds: Callable[[int, int], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.blocks = blocks
        self.preemptions = 0
        """Preemptions in the last call of `schedule`."""
        self.drafted = 0
        """Tokens of drafts that the last step computed."""
        self.accepted = 0
        """Those of them that became tokens of sequences."""
        self._max_batch_tokens = max_batch_tokens
        self._max_running = max_running
        self._prefill_chunk = prefill_chunk
        self._eos = eos_token_ids
        self._max_model_len = max_model_len
        self.speculation = speculation
        self._rounds = rounds
        self._clock = clock
        self._waiting = WaitingQueue()
        self._running: list[Sequence] = []
        self._by_id: dict[int, Sequence] = {}
        self._ended: list[Sequence] = []

    # What others may read

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def has_work(self) -> bool:
        """Whether a step would do something, be it only to report an ended sequence."""
        return bool(self._by_id or self._ended)

    def oldest_wait(self) -> float:
        """Seconds that the oldest waiting sequence has waited; 0 when none waits."""
        now = self._clock()
        return max((now - sequence.arrival for sequence in self._waiting), default=0.0)

    def check_invariants(self) -> None:
        """Raise AssertionError unless queues, ids and blocks agree."""
        queued = sorted(sequence.id for sequence in (*self._waiting, *self._running))
        require(sorted(self._by_id) == queued, "ids and queues differ")
        holding = [s for s in self._waiting if s.block_table or s.num_computed]
        require(not holding, "a waiting sequence holds blocks")
        require(self._waiting.is_in_order(), "the queue is out of order")
        self.blocks.check_invariants(self._running)

    # Commands

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. One that can never run fails at the next step instead of waiting for ever."""
        self._by_id[sequence.id] = sequence
        self._waiting.add(sequence)
        if not self._can_run(sequence):
            self._end(sequence, FinishReason.FAILED)

    def abort(self, sequence_id: int) -> None:
        """End a sequence early; one that has already ended is left alone."""
        sequence = self._by_id.get(sequence_id)
        if sequence is not None:
            self._end(sequence, FinishReason.ABORTED)

    def schedule(self) -> list[ScheduledSequence]:
        """Choose the next step's sequences and give them their blocks."""
        self.preemptions = 0
        self._expire()
        self._running.sort(key=lambda sequence: (not sequence.is_decoding, sequence.order))
        scheduled: list[ScheduledSequence] = []
        for sequence in list(self._running):
            if sequence.status is SequenceStatus.RUNNING:
                self._continue(sequence, scheduled)
        if not self.preemptions:
            for sequence in self._waiting.in_turn():
                if len(self._running) == self._max_running or not self._admit(sequence, scheduled):
                    break
        if scheduled and scheduled[-1].sequence.is_decoding:  # then all are
            self._look_ahead(scheduled)
        return scheduled

    def start_over(self) -> None:
        """Let everyone wait, without blocks, to be computed again: after `schedule` raised, wherever that was."""
        self._running.clear()
        self._waiting.clear()
        for sequence in self._by_id.values():
            sequence.block_table = []
            self._reset(sequence)
            self._waiting.add(sequence)
        self.blocks.clear()

    def update(self, scheduled: list[ScheduledSequence], results: list[StepResult]) -> list[SequenceOutput]:
        """Take the step's results; return one output for each sequence that has something to say."""
        now = self._clock()
        self.drafted = self.accepted = 0
        outputs = []
        for item, result in zip(scheduled, results, strict=True):
            if result.failed:
                self._end(item.sequence, FinishReason.FAILED)
            elif output := self._advance(item, result, now):
                outputs.append(output)
        outputs.extend(_last_output(sequence, now, [], []) for sequence in self._ended)
        self._ended.clear()
        return outputs

    def _can_run(self, sequence: Sequence) -> bool:
        """Whether the sequence has something to compute, and fits the model's context and the cache."""
        request = sequence.request
        longest = sequence.prompt_length + max((len(label) - 1 for label in request.labels), default=0)
        blocks = -(-len(sequence.tokens) // self.blocks.block_size)
        well_formed = bool(request.prompt) and all(request.labels)
        return well_formed and longest <= self._max_model_len and blocks <= self.blocks.num_blocks

    # Within schedule()

    def _expire(self) -> None:
        now = self._clock()
        for sequence in [s for s in self._by_id.values() if s.deadline <= now]:
            self._end(sequence, FinishReason.DEADLINE if sequence.num_generated else FinishReason.EXPIRED)

    def _grant(self, sequence: Sequence, scheduled: list[ScheduledSequence]) -> int:
        """Tokens that the rest of this step's budget allows the sequence."""
        left = self._max_batch_tokens - sum(item.length for item in scheduled)
        if not sequence.is_decoding and any(item.sequence.is_decoding for item in scheduled):
            prefill = sum(item.length for item in scheduled if not item.sequence.is_decoding)
            left = min(left, self._prefill_chunk - prefill)
        return max(0, min(sequence.num_uncomputed, left))

    def _continue(self, sequence: Sequence, scheduled: list[ScheduledSequence]) -> None:
        length = self._grant(sequence, scheduled)
        if not length:
            return
        while not self.blocks.allocate(sequence, sequence.num_computed + length):
            victim = self._running[-1]  # never one already scheduled: those stand before `sequence`
            self._preempt(victim)
            if victim is sequence:
                return
        scheduled.append(ScheduledSequence(sequence, sequence.num_computed, length))

    def _look_ahead(self, scheduled: list[ScheduledSequence]) -> None:
        """Let sequences say more than one token, within the budget and the blocks that nobody holds."""
        rounds, drafts = 0, dict[int, Draft]()
        if self._rounds and all(item.sequence.says_likeliest for item in scheduled):
            rounds = self._rounds(len(scheduled), sum(item.end for item in scheduled))
        if self.speculation:
            room = self._max_batch_tokens - len(scheduled)
            drafts.update(self.speculation.drafts([item.sequence for item in scheduled], room, rounds))
            if not drafts:
                rounds = self.speculation.look_again(len(scheduled), rounds)
        if rounds:
            for index, item in enumerate(scheduled):
                scheduled[index] = self._with_burst(item, rounds, drafts.get(item.sequence.id, _NO_DRAFT))
        elif drafts:
            for index, item in enumerate(scheduled):
                draft = drafts.get(item.sequence.id, _NO_DRAFT).first
                if draft and self.blocks.allocate(item.sequence, item.start + 1 + len(draft)):
                    scheduled[index] = ScheduledSequence(item.sequence, item.start, 1 + len(draft), draft)

    def _with_burst(self, item: ScheduledSequence, rounds: int, draft: Draft) -> ScheduledSequence:
        sequence = item.sequence
        left = sequence.request.sampling.max_tokens - sequence.num_generated
        most = min(rounds + len(draft.tokens), left, self._max_model_len - len(sequence.tokens))
        if not self.blocks.allocate(sequence, item.start + most):
            most = min(most, len(sequence.block_table) * self.blocks.block_size - item.start)
        return ScheduledSequence(sequence, item.start, 1, burst=Burst(rounds, most, draft))

    def _admit(self, sequence: Sequence, scheduled: list[ScheduledSequence]) -> bool:
        """Start a waiting sequence if it fits; False stops the admission of this step.

        The whole prompt must find blocks, though only a chunk of it is scheduled: otherwise sequences that were
        admitted together would preempt one another.
        """
        if not self._grant(sequence, scheduled):
            return False
        sequence.num_computed = self.blocks.match_prefix(sequence)
        if self.blocks.is_being_computed(sequence):
            self._release(sequence)  # a step or two later its prefix is there for nothing
            return True
        if not self.blocks.allocate(sequence, len(sequence.tokens)):
            self._release(sequence)
            return False
        self._waiting.take(sequence)
        self._running.append(sequence)
        sequence.status = SequenceStatus.RUNNING
        if sequence.first_scheduled is None:  # what a preempted one computes again is not its tenant's doing
            sequence.first_scheduled, sequence.cached_tokens = self._clock(), sequence.num_computed
            self._waiting.served(sequence.request.tenant, sequence.num_uncomputed)
        scheduled.append(ScheduledSequence(sequence, sequence.num_computed, self._grant(sequence, scheduled)))
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.preemptions += 1
        self._running.remove(sequence)
        self.blocks.free(sequence)
        self._reset(sequence)
        self._waiting.add(sequence)

    def _reset(self, sequence: Sequence) -> None:
        sequence.num_computed = 0
        sequence.label_logprobs.clear()
        sequence.status = SequenceStatus.WAITING

    def _release(self, sequence: Sequence) -> None:
        self.blocks.free(sequence)
        sequence.num_computed = 0

    # Within update()

    def _advance(self, item: ScheduledSequence, result: StepResult, now: float) -> SequenceOutput | None:
        sequence = item.sequence
        caught_up = item.catches_up
        sequence.num_computed = item.end
        self.blocks.publish(sequence, item.start)
        if not caught_up:
            begins = not sequence.num_generated and item.start == sequence.cached_tokens
            return SequenceOutput(id=sequence.id, timings=sequence.timings(now)) if begins else None
        if sequence.first_token is None:
            if (
                sequence.deadline <= now and not sequence.num_generated
            ):  # passed during this step: no first token
                return self._finish(sequence, FinishReason.EXPIRED, now)
            sequence.first_token = now
        sequence.last_token = now
        if sequence.tree:
            return self._finish(sequence, FinishReason.STOP, now)
        assert result.tokens, "a sequence that caught up has a sampled token"
        if fate := result.fate:
            self.drafted += fate.drafted
            if self.speculation:
                self.speculation.verified(sequence, fate)
        return self._extend(item, result, now)

    def _extend(self, item: ScheduledSequence, result: StepResult, now: float) -> SequenceOutput:
        """Append the sampled tokens, one after another, up to one that ends the sequence."""
        sequence = item.sequence
        first, count = not sequence.num_generated, -1
        for token in result.tokens:
            count += 1
            if reason := self._append(sequence, token):
                break
        self._waiting.served(sequence.request.tenant, GENERATED_WEIGHT * (count + 1))
        if result.fate:
            self.accepted += min(result.fate.accepted, count)
        if count:  # all tokens before the last have their K and V
            sequence.num_computed = item.end + count
            self.blocks.publish(sequence, item.end)
        if item.draft or item.burst:
            self.blocks.shrink(sequence, len(sequence.tokens))
        if reason:
            kept = count + (reason is FinishReason.LENGTH)
            return self._finish(sequence, reason, now, result.tokens[:kept], result.logprobs[:kept])
        return SequenceOutput(
            id=sequence.id,
            tokens=result.tokens,
            logprobs=result.logprobs,
            cached_tokens=(sequence.cached_tokens or 0) if first else 0,
            timings=sequence.timings(now) if first else None,
        )

    def _append(self, sequence: Sequence, token: int) -> FinishReason | None:
        """Append a token, unless it is one to stop at; return why the sequence ends with it, if it does."""
        sampling = sequence.request.sampling
        if token in sampling.stop_token_ids or (token in self._eos and not sampling.ignore_eos):
            sequence.stop_token = token
            return FinishReason.STOP
        sequence.tokens.append(token)
        full = sequence.num_generated >= sampling.max_tokens or len(sequence.tokens) >= self._max_model_len
        return FinishReason.LENGTH if full else None

    def _end(self, sequence: Sequence, reason: FinishReason) -> None:
        """End a sequence between its tokens; the next `update` reports it."""
        self._remove(sequence, reason)
        self._ended.append(sequence)

    def _finish(
        self,
        sequence: Sequence,
        reason: FinishReason,
        now: float,
        tokens: list[int] | None = None,
        logprobs: list[TokenLogprob] | None = None,
    ) -> SequenceOutput:
        """End a sequence in its own step, with its last tokens if it has any."""
        self._remove(sequence, reason)
        return _last_output(sequence, now, tokens or [], logprobs or [])

    def _remove(self, sequence: Sequence, reason: FinishReason) -> None:
        (self._running if sequence.status is SequenceStatus.RUNNING else self._waiting).remove(sequence)
        self._release(sequence)
        del self._by_id[sequence.id]
        if self.speculation:
            self.speculation.forget(sequence)
        sequence.status, sequence.finish_reason = SequenceStatus.FINISHED, reason
        sequence.ended = self._clock()


def _last_output(
    sequence: Sequence, now: float, tokens: list[int], logprobs: list[TokenLogprob]
) -> SequenceOutput:
    """The output that ends a sequence, with its timings and, for a decision, its scores."""
    scored = sequence.tree is not None and sequence.finish_reason is FinishReason.STOP
    return SequenceOutput(
        id=sequence.id,
        tokens=tokens,
        logprobs=logprobs,
        label_scores=sequence.label_scores() if scored else [],
        cached_tokens=(sequence.cached_tokens or 0) if sequence.num_generated <= len(tokens) else 0,
        finish_reason=sequence.finish_reason,
        stop_token=sequence.stop_token,
        timings=sequence.timings(now),
    )
