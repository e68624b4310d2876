"""NativeRunner: steps of the native decoder, on the CPU."""

import numpy
import torch

from app.engine.core.ahead import Fate
from app.engine.core.batch import Batch, branch_start
from app.engine.core.scheduler import ScheduledSequence, StepResult
from app.engine.native.decoder import NativeDecoder, Speaker, Spoken

_MANY_ROWS = 32
"""Rows of a step from which on it is worth to call all threads, whatever the size of the model."""


class NativeRunner:
    """Hands batches to the decoder as rows of integers.

    Args:
        num_blocks: blocks of its KV cache.
        threads: of steps with many rows, which compute for long enough; the others have PyTorch's number.
    """

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
        threads = self._threads_of(len(rows))
        return self._decoder.step(numpy.array(rows, dtype=numpy.int32), tables, batch.wanted, threads)

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
            most_rounds = burst.rounds
            rows += 1 + max(burst.draft.widths, default=0)
        spoken, rounds = self._decoder.burst(speakers, most_rounds, self._threads_of(rows), arrivals)
        return list(map(_result, scheduled, spoken)), rounds

    def _threads_of(self, rows: int) -> int:
        return self._threads if rows >= _MANY_ROWS else torch.get_num_threads()

    def clear(self, blocks: list[int]) -> None:
        """Nothing to do: the decoder never reads a slot that its own sequence has not written."""


def _result(item: ScheduledSequence, spoken: Spoken) -> StepResult:
    fate = None
    if item.burst and item.burst.draft.tokens:
        fate = Fate(spoken.drafted, spoken.accepted, spoken.tested, spoken.matched)
    return StepResult(spoken.tokens, failed=not spoken.tokens, fate=fate)


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
