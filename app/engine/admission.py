"""Admission: whether a request that comes now would be answered in time, by what is pending and the pace of late."""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from app.engine.batch_gain import BatchGain
from app.engine.messages import StepStats
from app.errors import Overloaded
from app.observation import Task

SEQUENCE_TOKENS = 16
"""What a sequence costs beside its tokens, in tokens."""
_KEEP = 0.98
"""Weight of what was measured after one more answer: some fifty count."""
_OUTLIER = 4.0
"""A pause of so many times what was expected counts as so much: a process may have ended in it."""
_STEPS = 5
"""Where so many full steps take longer than an objective, the objective was not meant for this machine."""
_SHORT, _LONG = 0.5, 0.25
"""How long a request may be foreseen to wait, as a share of its objective, behind a short queue and behind a long one.
A long one takes two to four times as long as its beginning lets foresee, since letting it in is work, too, and so are
the answers that have begun (docs/log.md)."""
_BURST = 32
"""Sequences ahead that are a long queue."""
_FEW = 4
"""And at least for so many answers."""
_FLOODED = 1.5
"""Answers that a request may wait for while many of its tenant are refused, or a step, which may bring several."""
_STEP_KEEP = 0.95
"""Weight of what a step took after one more: some twenty count."""
_FLOOD = 20
"""Refusals within an objective's time that are many."""
_LEAST_OPEN = 2
"""Sequences of one who floods: a request, and the question of a policy about it."""
_LONGEST_RETRY = 60.0


@dataclass(frozen=True, slots=True)
class Work:
    """What a request asks of the engine, as far as that is known when it is judged.

    Attributes:
        tokens: of all its prompts and labels.
        timeout: seconds to the deadline that it brings.
    """

    task: Task
    tenant: str = ""
    sequences: int = 0
    tokens: int = 0
    priority: int = 0
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """One sequence that was let in and has no answer yet."""

    tenant: str
    cost: float
    order: tuple[int, float]
    """Priority, and the instant at which it is due: what the engine sorts a tenant's sequences by."""


class Admission:
    """Refuses at once what would be answered too late, so that what is let in is not.

    A request waits for those of its tenant that are ahead of it, and of every other tenant for as much again, since the
    engine serves them evenly. That work over the pace of late is how long it would wait: half of the objective of its
    task at most, and a quarter behind many others. Where many are refused all the same, a queue only delays those who
    are let in, and there is always somebody to take a place that becomes free: then what one step answers may be
    pending, and no more sequences open than are worth it. The idea is that of CoDel and of Maurer's adaptive queue
    timeouts ("Fail at Scale", ACM Queue, 2015), here of what is foreseen, before any work is done.

    Args:
        objectives: seconds within which an answer should begin (a decision: end), by task.
        max_waiting: sequences that may wait for an answer; of several tenants each may have as many as it leaves free.
        clock: monotonic seconds.
    """

    def __init__(
        self, objectives: Mapping[Task, float], max_waiting: int, clock: Callable[[], float] = monotonic
    ) -> None:
        self._objectives = objectives
        self._max_waiting = max_waiting
        self._clock = clock
        self._pending: dict[int, Pending] = {}
        self._open: dict[int, str] = {}
        """The tenant of each sequence that has not ended."""
        self._entered = 0
        """Places that were kept, counted down: they are told from sequences by their sign."""
        self._gain = BatchGain()
        self._step_seconds = 0.0
        self._least_objective = 0.0
        self._flood_seconds = self._longest_objective()
        self._seconds = self._tokens = self._answers = 0.0
        self._last_answer = clock()
        self._refused = 0.0
        """Refusals of the last second or so."""
        self._last_refusal = 0.0
        self._refusals = defaultdict[str, deque[float]](lambda: deque(maxlen=_FLOOD))
        """Of each tenant the latest: who floods is judged as a flood, and not who is beside it."""
        self._flooded_until = -math.inf

    def measured(self, step_seconds: float, step_tokens: int) -> None:
        """Take what a full step takes, from a warm-up, for the pace until there is a better one.

        Args:
            step_seconds: 0 where nothing was measured.
        """
        self._least_objective = _STEPS * step_seconds
        self._flood_seconds = self._longest_objective()
        if step_seconds and not self._answers:
            self._seconds, self._tokens = step_seconds, float(step_tokens)
            self._answers = max(1.0, step_tokens / 64)

    @property
    def flooded(self) -> bool:
        """Whether somebody floods."""
        return self._clock() < self._flooded_until

    def due(self, task: Task) -> float | None:
        """Seconds within which an answer should begin; None where no objective says so."""
        objective = self._objectives.get(task)
        return None if objective is None else max(objective, self._least_objective)

    def check(self, work: Work) -> None:
        """Let a request in, or not.

        Raises:
            Overloaded: it would wait for too long, or the queue has no place for it.
        """
        now = self._clock()
        wait, ahead = self._queue(work, now)
        late = wait - self._bound(work, ahead, now)
        if late > 0 or not self._has_place(work) or self._is_one_too_many(work, now):
            self._refused = 1 + self._refused * math.exp(self._last_refusal - now)
            self._last_refusal = now
            self._refusals[work.tenant].append(now)
            if self._floods(work.tenant, now):
                self._flooded_until = now + self._flood_seconds
        elif work.timeout is None or wait <= work.timeout:
            return
        else:  # by its own deadline, which says nothing of the service
            late = wait - work.timeout
        raise Overloaded(self._retry_after(max(late, 0.0)))

    def enter(self, task: Task, tenant: str) -> Callable[[], None]:
        """Keep a place for a request of which no more is known; returns what gives it back, once.

        Without it all that come together would find the same places free, and be read and tokenized for nothing.

        Raises:
            Overloaded: even the smallest one would wait for too long, or the queue has no place for it.
        """
        work = Work(task, tenant)
        self.check(work)
        self._entered -= 1
        number = self._entered
        cost = self._tokens / self._answers if self._answers else SEQUENCE_TOKENS
        self.opened(number, Pending(tenant, cost, (0, self._due_at(work, self._clock()))))
        return lambda: self.ended(number)

    def opened(self, request_id: int, pending: Pending) -> None:
        """A sequence was given to the engine."""
        if not self._pending:
            self._last_answer = self._clock()
        self._pending[request_id] = pending
        self._open[request_id] = pending.tenant

    def answered(self, request_id: int) -> None:
        """A sequence has its first answer; those after it change nothing."""
        pending = self._pending.pop(request_id, None)
        if pending is None:
            return
        now = self._clock()
        pause = now - self._last_answer
        if self._answers:
            # Of those that one step answers the first has the time of all, which is no outlier.
            usual = max(
                self._seconds_per_answer, pending.cost * self._seconds / self._tokens, self._step_seconds
            )
            pause = min(pause, _OUTLIER * usual)
        self._seconds = self._seconds * _KEEP + pause
        self._tokens = self._tokens * _KEEP + pending.cost
        self._answers = self._answers * _KEEP + 1
        self._last_answer = now

    def ended(self, request_id: int) -> None:
        """A sequence ended, be it without an answer, or a place was given back."""
        self._pending.pop(request_id, None)
        self._open.pop(request_id, None)

    def stepped(self, stats: StepStats) -> None:
        """The engine made a step."""
        if not stats.sequences:
            return
        before = self._step_seconds or stats.seconds
        self._step_seconds = _STEP_KEEP * before + (1 - _STEP_KEEP) * stats.seconds
        if stats.phase == "decode":  # tokens of a prompt cost far less, and a step has them or not
            tokens = stats.tokens - stats.drafted + stats.accepted
            self._gain.measured(stats.sequences, tokens, stats.seconds)

    def _floods(self, tenant: str, now: float) -> bool:
        """Whether many of a tenant's requests were refused of late."""
        refusals = self._refusals.get(tenant)
        return refusals is not None and len(refusals) == _FLOOD and now - refusals[0] < self._flood_seconds

    def _is_one_too_many(self, work: Work, now: float) -> bool:
        """Whether this tenant floods, and has as many open sequences as are worth it beside those of the others.

        Those who flood share evenly what the others leave of it. The others may have more than an even share, for the
        refusals take a part of the machine, and those who cause them pay for it: by half of their own share at most.
        """
        worth = self._gain.enough()
        if worth is None or len(self._open) < worth or not self._floods(work.tenant, now):
            return False
        others = Counter(tenant for tenant in self._open.values() if tenant != work.tenant)
        calm = [sequences for tenant, sequences in others.items() if not self._floods(tenant, now)]
        own, tenants = len(self._open) - others.total(), len(others) + 1
        return own >= max((worth - sum(calm)) / (tenants - len(calm)), worth / tenants / 2, _LEAST_OPEN)

    def _longest_objective(self) -> float:
        return max((max(one, self._least_objective) for one in self._objectives.values()), default=0.0)

    @property
    def _seconds_per_answer(self) -> float:
        return self._seconds / self._answers if self._answers else 0.0

    def _queue(self, work: Work, now: float) -> tuple[float, int]:
        """Seconds until it would be answered, and how many sequences are ahead."""
        order = (work.priority, self._due_at(work, now))
        own, number = 0.0, 0
        others = defaultdict[str, tuple[float, int]](lambda: (0.0, 0))
        for pending in self._pending.values():
            if pending.tenant != work.tenant:
                cost, count = others[pending.tenant]
                others[pending.tenant] = cost + pending.cost, count + 1
            elif pending.order <= order:
                own, number = own + pending.cost, number + 1
        turn = own + work.tokens + SEQUENCE_TOKENS
        ahead = own + sum(min(cost, turn) for cost, _ in others.values())
        number += sum(min(count, number + 1) for _, count in others.values())
        return ahead * self._seconds / self._tokens if self._tokens else 0.0, number

    def _due_at(self, work: Work, now: float) -> float:
        within = (work.timeout, self.due(work.task))
        return now + min((seconds for seconds in within if seconds is not None), default=math.inf)

    def _bound(self, work: Work, ahead: int, now: float) -> float:
        """Seconds that a request may wait behind so many others, whatever deadline it brings."""
        objective = self.due(work.task)
        if objective is None:
            return math.inf
        if self._floods(work.tenant, now):
            return max(self._step_seconds, _FLOODED * self._seconds_per_answer)
        share = _SHORT if ahead < _BURST else _LONG
        return max(share * objective, _FEW * self._seconds_per_answer)

    def _has_place(self, work: Work) -> bool:
        waiting = len(self._pending)
        free = self._max_waiting - waiting
        if free < max(1, work.sequences):
            return False
        own = sum(pending.tenant == work.tenant for pending in self._pending.values())
        return own in (0, waiting) or own + work.sequences <= free

    def _retry_after(self, late: float) -> float:
        """Seconds in which those who were refused of late, and come again, could be served."""
        return min(_LONGEST_RETRY, max(1.0, late + self._refused * self._seconds_per_answer))
