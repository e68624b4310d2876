"""NativeRunner: steps of the native decoder, on the CPU."""

import numpy
import numpy.typing
import torch

from app.engine.core.batch import Batch
from app.engine.core.scheduler import ScheduledSequence
from app.engine.native.decoder import NativeDecoder

_MANY_ROWS = 32
"""Rows of a step from which on it is worth to call all threads, whatever the size of the model."""


class NativeRunner:
    """Hands batches to the decoder as rows of integers.

    Args:
        num_blocks: blocks of its KV cache.
        threads: of steps with many rows, which compute for long enough; the others have PyTorch's number.
    """

    batch_invariant = True

    def __init__(self, decoder: NativeDecoder, num_blocks: int, block_size: int, threads: int) -> None:
        decoder.allocate(num_blocks, block_size)
        self._decoder = decoder
        self._threads = threads
        self.num_blocks = num_blocks

    def run(self, batch: Batch) -> torch.Tensor:
        """Write the batch's K and V, and return its wanted logits (rows, vocabulary)."""
        rows = numpy.empty(
            (len(batch.tokens), 6), dtype=numpy.int32
        )  # the fields of `Row` in src/attention.h
        rows[:, 0], rows[:, 1] = batch.tokens, batch.positions
        tables: list[int] = []
        start = 0
        for item in batch.scheduled:
            _place(item, rows[start : start + item.length, 2:], table=len(tables))
            start += item.length
            tables += item.sequence.block_table
        threads = self._threads if len(rows) >= _MANY_ROWS else torch.get_num_threads()
        return self._decoder.step(rows, tables, batch.wanted, threads)

    def clear(self, blocks: list[int]) -> None:
        """Nothing to do: the decoder never reads a slot that its own sequence has not written."""


def _place(item: ScheduledSequence, rows: "numpy.typing.NDArray[numpy.int32]", table: int) -> None:
    """Fill in, for each token of `item`, its index, its table, and where what it sees ends and begins again."""
    tree, end, prompt = item.sequence.tree, item.start + item.length, item.sequence.prompt_length
    if item.length == 1 and tree is None:
        rows[0] = (item.start, table, end, end)
        return
    indices = numpy.arange(item.start, end, dtype=numpy.int32)
    rows[:, 0], rows[:, 1] = indices, table
    # Everything up to itself is its prefix; what would be its branch is empty.
    rows[:, 2] = rows[:, 3] = indices + 1
    if tree is not None and end > prompt:
        behind = max(item.start, prompt)
        rows[behind - item.start :, 2] = prompt
        starts = tree.start_of[behind - prompt : end - prompt]
        rows[behind - item.start :, 3] = numpy.array(starts, dtype=numpy.int32) + prompt
