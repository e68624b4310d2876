"""NativeRunner: steps of the native decoder, on the CPU."""

import numpy
import numpy.typing
import torch

from app.engine.core.ahead import Fate
from app.engine.core.batch import Batch
from app.engine.core.scheduler import ScheduledSequence, StepResult
from app.engine.native.decoder import NativeDecoder, Speaker, Spoken

_MANY_ROWS = 32
"""Rows of a step from which on all threads are called, whatever the size of the model."""
_WEIGHTS_OF_A_THREAD = 2 << 20
"""Bytes: a core's own cache holds about so much, and threads with less wait longer for each other than they compute."""


class NativeRunner:
    """Hands batches to the decoder as rows of integers.

    Args:
        num_blocks: blocks of its KV cache.
        threads: of every step; 0: all for steps with many rows or a large model, else as many as its weights fill.
    """

    def __init__(self, decoder: NativeDecoder, num_blocks: int, block_size: int, threads: int) -> None:
        decoder.allocate(num_blocks, block_size)
        self._decoder = decoder
        self._most_threads = threads or decoder.threads
        filled = max(1, decoder.memory_bytes // _WEIGHTS_OF_A_THREAD)
        self._few_threads = threads or min(filled, decoder.threads)
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
        return self._decoder.step(rows, tables, batch.wanted, self._threads(len(rows)))

    def burst(
        self, scheduled: list[ScheduledSequence], eos: list[int], arrivals: int
    ) -> tuple[list[StepResult], int]:
        """Let sequences say their likeliest tokens, as many as their bursts allow; and how many rounds that were."""
        speakers = list[Speaker]()
        rows = most_rounds = 0
        for item in scheduled:
            sequence, burst = item.sequence, item.burst
            assert burst is not None
            sampling = sequence.request.sampling
            stops = sampling.stop_token_ids if sampling.ignore_eos else eos + sampling.stop_token_ids
            speakers.append(
                Speaker(
                    sequence.tokens[-1],
                    item.start,
                    sequence.block_table,
                    burst.most,
                    stops,
                    burst.draft.tokens,
                    burst.draft.widths,
                )
            )
            rows += 1 + max(burst.draft.widths, default=0)
            most_rounds = burst.rounds
        spoken, rounds = self._decoder.burst(speakers, most_rounds, self._threads(rows), arrivals)
        return list(map(_result, scheduled, spoken)), rounds

    def _threads(self, rows: int) -> int:
        return self._most_threads if rows >= _MANY_ROWS else self._few_threads

    def clear(self, blocks: list[int]) -> None:
        """Nothing to do: the decoder never reads a slot that its own sequence has not written."""


def _result(item: ScheduledSequence, spoken: Spoken) -> StepResult:
    fate = None
    if item.burst and item.burst.draft.tokens:
        fate = Fate(spoken.drafted, spoken.accepted, spoken.tested, spoken.matched)
    return StepResult(spoken.tokens, failed=not spoken.tokens, fate=fate)


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
