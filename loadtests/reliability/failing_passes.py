"""FailingPasses: the native runner's passes, of which some go wrong."""

from typing import Any, cast

import torch

from app.engine.core.batch import Batch
from app.engine.core.engine_core import EngineCore
from app.engine.core.native_runner import NativeRunner
from app.engine.core.scheduler import ScheduledSequence, StepResult

KINDS = (
    "nothing goes wrong",
    "a request over which every pass raises",
    "a request whose numbers are NaN",
    "too little memory for more than 12 rows",
    "passes that raise now and then",
)
_NOTHING, _POISON, _NAN, _MEMORY, _PASSING = KINDS
_MOST_ROWS = 12
_EVERY = 5


class FailingPasses:
    """Stands between a core and its runner.

    Attributes:
        blames: the request that must fail, if there is one.
        failed: passes that went wrong; `bursts`: bursts that did not.
    """

    def __init__(self, core: EngineCore, kind: str, culprit: int) -> None:
        self.blames = culprit if kind in (_POISON, _NAN) else None
        self.failed = self.bursts = 0
        self._kind = kind
        self._passes = 0
        runner = cast(Any, core)._runner
        assert isinstance(runner, NativeRunner)
        self._run, self._burst = runner.run, runner.burst
        runner.run, runner.burst = self.run, self.burst  # type: ignore[method-assign, assignment]

    def run(self, batch: Batch) -> torch.Tensor:
        """As the runner's, unless it goes wrong."""
        self._before(batch.scheduled, len(batch.tokens))
        logits = self._run(batch)
        if self._kind == _NAN:
            rows = [
                row for row, (owner, _) in enumerate(batch.owners) if self._is_culprit(batch.scheduled[owner])
            ]
            logits[rows] = torch.nan
            self.failed += bool(rows)
        return logits

    def burst(self, scheduled: list[ScheduledSequence], *more: Any) -> tuple[list[StepResult], int]:
        """As the runner's, unless it goes wrong."""
        self._before(scheduled, len(scheduled))
        results, rounds = self._burst(scheduled, *more)
        self.bursts += 1
        if self._kind == _NAN:
            culprits = list(map(self._is_culprit, scheduled))
            self.failed += any(culprits)
            results = [
                StepResult(failed=True) if bad else result
                for bad, result in zip(culprits, results, strict=True)
            ]
        return results, rounds

    def _before(self, scheduled: list[ScheduledSequence], rows: int) -> None:
        """Raise, if this pass is to go wrong in that way."""
        self._passes += 1
        error: Exception | None = None
        if self._kind == _POISON and any(map(self._is_culprit, scheduled)):
            error = RuntimeError("poison")
        elif self._kind == _MEMORY and rows > _MOST_ROWS:
            error = MemoryError(f"{rows} rows")
        elif self._kind == _PASSING and self._passes % _EVERY == 0:
            error = RuntimeError("a fault that passes")
        if error is not None:
            self.failed += 1
            raise error

    def _is_culprit(self, item: ScheduledSequence) -> bool:
        return item.sequence.id == self.blames
