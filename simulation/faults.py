"""Faults: what the next forward passes and block allocations suffer, and how often they did."""

from collections import Counter
from typing import Literal

from app.engine.core.block_manager import BlockManager
from app.engine.core.sequence import Sequence
from simulation.clock import VirtualClock

PASS_SECONDS = 0.001
ROW_SECONDS = 0.00005

Once = Literal["raise", "nan", "allocation"]


class Faults:
    """Faults that are bound to no request. What happens once happens to the next pass, or allocation, and not again.

    Attributes:
        most_rows: rows of a pass above which memory lacks; 0: it never does.
        slowness: factor on the time that a pass takes.
        stalled: seconds that the next pass takes in addition.
        met: how many of each kind came to pass.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._armed: set[Once] = set()
        self.most_rows = 0
        self.slowness = 1.0
        self.stalled = 0.0
        self.met = Counter[str]()

    def arm(self, once: Once) -> None:
        """Let it happen at the next occasion."""
        self._armed.add(once)

    def before_pass(self, rows: int) -> None:
        """Let the time of a pass go by.

        Raises:
            MemoryError: the pass has more rows than there is memory for.
            RuntimeError: a fault that passes.
        """
        self._clock.advance(self.slowness * (PASS_SECONDS + ROW_SECONDS * rows) + self.stalled)
        self.stalled = 0.0
        if self.most_rows and rows > self.most_rows:
            self.met["out of memory"] += 1
            raise MemoryError(f"{rows} rows")
        if self._take("raise"):
            raise RuntimeError("a fault that passes")

    def spoils(self) -> bool:
        """Whether a row whose logits are wanted is to be not finite."""
        return self._take("nan")

    def before_allocation(self) -> None:
        """Raises:
        MemoryError: once.
        """
        if self._take("allocation"):
            raise MemoryError("an allocation")

    def _take(self, once: Once) -> bool:
        if once not in self._armed:
            return False
        self._armed.remove(once)
        self.met[once] += 1
        return True


class FragileBlocks(BlockManager):
    """Blocks whose allocation fails when it is told to."""

    def __init__(self, like: BlockManager, share: bool, faults: Faults) -> None:
        super().__init__(like.num_blocks, like.block_size, share)
        self._faults = faults

    def allocate(self, sequence: Sequence, length: int) -> bool:
        """As a BlockManager does.

        Raises:
            MemoryError: it is told to.
        """
        self._faults.before_allocation()
        return super().allocate(sequence, length)
