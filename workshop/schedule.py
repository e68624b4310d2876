"""How far a run is, by the clock or by steps, and the learning rate that follows from it."""

import time
from dataclasses import dataclass, field


@dataclass
class Budget:
    """What a run may spend: minutes of training, or steps when given. Time before a resume counts."""

    minutes: float = 0.0
    steps: int = 0
    spent: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Training time so far, in seconds, over all resumed runs."""
        return self.spent + time.monotonic() - self._started

    def progress(self, step: int) -> float:
        """From 0 at the start to 1 at the end."""
        done = step / self.steps if self.steps else self.seconds / (60 * self.minutes)
        return min(1.0, done)


def rate_factor(progress: float, warmup: float = 0.02) -> float:
    """The factor of the peak rate: a short warmup, then straight to zero.

    Linear decay to zero beats cosine to a tenth for short runs ("Straight to Zero", Bergsma et al. 2025).
    """
    return min(progress / warmup if warmup else 1.0, (1 - progress) / (1 - warmup), 1.0)
