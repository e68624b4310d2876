"""Admission: whether a request that comes now would be answered in time, by what is pending and the pace of late."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from app.errors import Overloaded
from app.observation import Task

SEQUENCE_TOKENS = 16
"""What a sequence costs beside its tokens, in tokens."""
_KEEP = 0.98
"""Weight of what was measured after one more answer: some fifty count."""
_LONGEST_PAUSE = 5.0
"""Seconds between two answers that say something of the pace; a process may have ended meanwhile."""
_STEPS = 10
"""Where so many full steps take longer than an objective, the objective was not meant for this machine."""
_STANDING = 0.05
"""What may be foreseen of a queue that does not end, as a share of the objective."""
_FEW = 4
"""And at least so many answers."""
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
    engine serves them evenly. That work over the pace of late is how long it would wait. It may wait for as long as the
    objective of its task, reckoned from when there was last no queue: a burst is let in as far as it is over by then,
    while a queue that stands only delays all, and is kept to a few answers. The idea is that of CoDel and of Maurer's
    adaptive queue timeouts ("Fail at Scale", ACM Queue, 2015), here of what is foreseen, before any work is done.

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
        self._least_objective = 0.0
        self._seconds = self._tokens = self._answers = 0.0
        self._last_answer = self._empty_since = self._clear_at = clock()
        self._refused, self._refused_at = 0.0, clock()

    def measured(self, step_seconds: float, step_tokens: int) -> None:
        """Take what a full step takes, from a warm-up, for the pace until there is a better one.

        Args:
            step_seconds: 0 where nothing was measured.
        """
        self._least_objective = _STEPS * step_seconds
        if step_seconds and not self._answers:
            self._seconds, self._tokens = step_seconds, float(step_tokens)
            self._answers = max(1.0, step_tokens / 64)

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
        if not self._pending and now - self._empty_since >= self._seconds_per_answer:
            self._clear_at = now
        wait = self._wait(work, now)
        late = wait - self._bound(work, now)
        if late > 0 or not self._has_place(work):
            raise Overloaded(self._retry_after(max(late, 0.0), now))

    def opened(self, request_id: int, pending: Pending) -> None:
        """A sequence was given to the engine."""
        if not self._pending:
            self._last_answer = self._clock()
        self._pending[request_id] = pending

    def answered(self, request_id: int) -> None:
        """A sequence has its first answer; those after it change nothing."""
        pending = self._pending.get(request_id)
        if pending is None:
            return
        now = self._clock()
        self._seconds = self._seconds * _KEEP + min(now - self._last_answer, _LONGEST_PAUSE)
        self._tokens = self._tokens * _KEEP + pending.cost
        self._answers = self._answers * _KEEP + 1
        self._last_answer = now
        self.left(request_id)

    def left(self, request_id: int) -> None:
        """A sequence ended, be it without an answer."""
        if self._pending.pop(request_id, None) and not self._pending:
            self._empty_since = self._clock()

    @property
    def _seconds_per_answer(self) -> float:
        return self._seconds / self._answers if self._answers else 0.0

    def _wait(self, work: Work, now: float) -> float:
        order = (work.priority, self._due_at(work, now))
        own, others = 0.0, dict[str, float]()
        for pending in self._pending.values():
            if pending.tenant != work.tenant:
                others[pending.tenant] = others.get(pending.tenant, 0.0) + pending.cost
            elif pending.order <= order:
                own += pending.cost
        turn = own + work.tokens + SEQUENCE_TOKENS
        ahead = own + sum(min(theirs, turn) for theirs in others.values())
        return ahead * self._seconds / self._tokens if self._tokens else 0.0

    def _due_at(self, work: Work, now: float) -> float:
        within = (work.timeout, self.due(work.task))
        return now + min((seconds for seconds in within if seconds is not None), default=math.inf)

    def _bound(self, work: Work, now: float) -> float:
        """Seconds that a request may wait."""
        bound = math.inf if work.timeout is None else work.timeout
        if (objective := self.due(work.task)) is not None:
            standing = max(_STANDING * objective, _FEW * self._seconds_per_answer)
            bound = min(bound, max(standing, self._clear_at + objective - now))
        return bound

    def _has_place(self, work: Work) -> bool:
        waiting = len(self._pending)
        free = self._max_waiting - waiting
        if free < max(1, work.sequences):
            return False
        if not work.tenant:
            return True
        own = sum(pending.tenant == work.tenant for pending in self._pending.values())
        return not own or own + work.sequences <= free

    def _retry_after(self, late: float, now: float) -> float:
        """Seconds in which those who were refused of late, and come again, could be served."""
        self._refused = self._refused * math.exp(self._refused_at - now) + 1
        self._refused_at = now
        return min(_LONGEST_RETRY, max(1.0, late + self._refused * self._seconds_per_answer))
