"""Objectives: how many requests each was about, and how many met it."""

from collections.abc import Sequence

from app.metric_families.registry import Registry
from app.observation import Task
from app.slos import Slo, SloName


class Objectives:
    """Judges requests by a table of objectives; what the table leaves out is not judged."""

    def __init__(self, registry: Registry, slos: Sequence[Slo]) -> None:
        self._threshold = {(task, slo.name): slo.threshold_seconds for slo in slos for task in slo.tasks}
        self._stall = {task: slo.stall_seconds for slo in slos for task in slo.tasks if slo.name == "itl"}
        keys = list(self._threshold)
        # Scraped in this order and counted in the other, so that no scrape finds more good ones than there were.
        self._good = registry.counters("slo_good", "Requests that met an objective.", ("task", "slo"), keys)
        self._events = registry.counters(
            "slo_events", "Requests that an objective applies to.", ("task", "slo"), keys
        )

    def threshold(self, task: Task, slo: SloName) -> float | None:
        """Seconds that the objective allows; None where the table has none."""
        return self._threshold.get((task, slo))

    def is_stall(self, task: Task, seconds: float) -> bool:
        """Whether no answer may be silent for so long between its tokens."""
        stall = self._stall.get(task)
        return stall is not None and seconds > stall

    def judge(self, task: Task, slo: SloName, *, good: bool) -> None:
        """One request that an objective applies to."""
        if (task, slo) in self._events:
            self._events[task, slo].inc()
            if good:
                self._good[task, slo].inc()

    def judge_time(self, task: Task, slo: SloName, seconds: float) -> None:
        """One request that took so long."""
        threshold = self.threshold(task, slo)
        self.judge(task, slo, good=threshold is not None and seconds <= threshold)

    def judge_wait(self, task: Task, slo: SloName, seconds: float) -> None:
        """One request that ended after so long without what it waited for: below the threshold that says nothing."""
        threshold = self.threshold(task, slo)
        if threshold is not None and seconds > threshold:
            self.judge(task, slo, good=False)
