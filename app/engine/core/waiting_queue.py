"""WaitingQueue: who is next, fairly between tenants and by deadline within each."""

import bisect
from collections.abc import Iterator

from app.engine.core.sequence import Sequence

GENERATED_WEIGHT = 2.0
"""A generated token counts as so many tokens of a prompt, which are computed many at a time."""


class WaitingQueue:
    """Sequences that wait, by tenant, and how much each tenant was served (a virtual token counter).

    The next sequence is of the tenant that was served least, and there of the best `order`: a tenant that asks for ten
    times its share waits for itself. Whoever comes with nothing waiting starts no lower than the tenant that is being
    served now, so that nobody saves up a claim. After Sheng et al., "Fairness in Serving Large Language Models" (2024),
    with the start of idle tenants as in start-time fair queueing. Tenants come from the keys, so they are few.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[Sequence]] = {}
        self._served: dict[str, float] = {}
        self._now = 0.0
        """What the tenant had been served that was last chosen."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[Sequence]:
        """All, in no order."""
        for sequences in self._waiting.values():
            yield from sequences

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        tenant = sequence.request.tenant
        if tenant not in self._waiting:
            self._waiting[tenant] = []
            self._served[tenant] = max(self._served.get(tenant, 0.0), self._now)
        bisect.insort(self._waiting[tenant], sequence, key=_order)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out that will not be served from here."""
        tenant = sequence.request.tenant
        self._waiting[tenant].remove(sequence)
        if not self._waiting[tenant]:
            del self._waiting[tenant]

    def clear(self) -> None:
        """Let nobody wait; what each tenant was served stays."""
        self._waiting.clear()

    def take(self, sequence: Sequence) -> None:
        """Take a sequence out to be served: it is its tenant's turn now."""
        self.remove(sequence)
        self._now = max(self._now, self._served[sequence.request.tenant])

    def served(self, tenant: str, tokens: float) -> None:
        """Charge a tenant with tokens that are computed for it."""
        self._served[tenant] = self._served.get(tenant, 0.0) + tokens

    def in_turn(self) -> Iterator[Sequence]:
        """Each sequence when it is next; those that were yielded may be taken, and their tenants charged, meanwhile."""
        passed = dict.fromkeys(self._waiting, 0)
        while passed:
            tenant = min(passed, key=self._served.__getitem__)
            sequences = self._waiting.get(tenant, [])[passed[tenant] :][:1]
            if not sequences:
                del passed[tenant]
                continue
            yield sequences[0]
            if self._waiting.get(tenant, [])[passed[tenant] :][:1] == sequences:
                passed[tenant] += 1

    def is_in_order(self) -> bool:
        """Whether each tenant's sequences stand as they should."""
        return all(
            sequences and sequences == sorted(sequences, key=_order) for sequences in self._waiting.values()
        )


def _order(sequence: Sequence) -> tuple[int, float, float, int]:
    return sequence.order
