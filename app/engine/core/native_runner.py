"""NativeRunner: steps of the native decoder, on the CPU."""

import numpy
import torch

from app.engine.core.batch import Batch, branch_start
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
        rows: list[tuple[int, int, int, int, int, int]] = []
        tables: list[int] = []
        for item in batch.scheduled:
            start = len(rows)
            end = start + item.length
            rows += _rows(item, batch.tokens[start:end], batch.positions[start:end], table=len(tables))
            tables += item.sequence.block_table
        threads = self._threads if len(rows) >= _MANY_ROWS else torch.get_num_threads()
        return self._decoder.step(numpy.array(rows, dtype=numpy.int32), tables, batch.wanted, threads)

    def clear(self, blocks: list[int]) -> None:
        """Nothing to do: the decoder never reads a slot that its own sequence has not written."""


def _rows(
    item: ScheduledSequence, tokens: list[int], positions: list[int], table: int
) -> list[tuple[int, int, int, int, int, int]]:
    """The fields of `Row` in src/attention.h for each token of `item`."""
    indices = range(item.start, item.start + item.length)
    if item.sequence.tree is None:
        # Everything up to itself is its prefix; what would be its branch is empty.
        return [
            (token, position, index, table, index + 1, index + 1)
            for token, position, index in zip(tokens, positions, indices, strict=True)
        ]
    rows = []
    for token, position, index in zip(tokens, positions, indices, strict=True):
        branch = branch_start(item.sequence, index)
        prefix = index + 1 if branch is None else item.sequence.prompt_length
        rows.append((token, position, index, table, prefix, index + 1 if branch is None else branch))
    return rows
