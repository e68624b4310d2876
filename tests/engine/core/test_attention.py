"""Paged attention: equal to plain attention over the whole context, with windows, caps and grouped heads."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch

from app.engine.core.attention import paged_attention
from app.engine.core.attention_plan import AttentionPlan
from app.engine.core.kv_cache import KVCache, bytes_per_token
from app.engine.core.scheduler import ScheduledSequence
from app.engine.core.sequence import Sequence
from app.engine.messages import AddRequest

HEADS, KV_HEADS, DIM, BLOCK = 4, 2, 8, 4
LENGTHS = [11, 3, 6]
TABLES = [[7, 2, 5], [0], [4, 9]]


def plain_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None, softcap: float | None
) -> torch.Tensor:
    """(tokens, heads, dim) of one whole sequence, written out."""
    repeat = HEADS // KV_HEADS
    logits = torch.einsum("qhd,khd->hqk", query, key.repeat_interleave(repeat, 1)) * DIM**-0.5
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    distance = torch.arange(len(query))[:, None] - torch.arange(len(query))
    seen = (distance >= 0) & (distance < (window or len(query)))
    weights = logits.masked_fill(~seen, -torch.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, value.repeat_interleave(repeat, 1))


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_equals_plain_attention_however_the_work_is_cut(
    window: int | None, softcap: float | None, chunk: int
) -> None:
    generator = torch.Generator().manual_seed(5)
    queries = [torch.randn(length, HEADS, DIM, generator=generator) for length in LENGTHS]
    keys = [torch.randn(length, KV_HEADS, DIM, generator=generator) for length in LENGTHS]
    values = [torch.randn(length, KV_HEADS, DIM, generator=generator) for length in LENGTHS]
    cache = KVCache([(KV_HEADS, DIM)] * 2, 10, BLOCK, torch.float32, torch.device("cpu"))
    sequences = [Sequence.of(AddRequest(id=n, prompt=[1] * LENGTHS[n]), 0.0) for n in range(3)]
    for sequence, table in zip(sequences, TABLES, strict=True):
        sequence.block_table = table
    got = [torch.empty_like(query) for query in queries]
    for start in range(0, max(LENGTHS), chunk):
        scheduled = [
            ScheduledSequence(item, start, min(chunk, LENGTHS[item.id] - start))
            for item in sequences
            if start < LENGTHS[item.id]
        ]

        def packed(parts: list[torch.Tensor], step: list[ScheduledSequence] = scheduled) -> torch.Tensor:
            rows = [parts[item.sequence.id][item.start : item.start + item.length] for item in step]
            return torch.cat(rows).transpose(0, 1)[None]

        output, _ = paged_attention(
            cast(torch.nn.Module, SimpleNamespace(layer_idx=1)),
            packed(queries),
            packed(keys),
            packed(values),
            None,
            scaling=DIM**-0.5,
            plan=AttentionPlan.of(scheduled, BLOCK, torch.device("cpu")),
            cache=cache,
            sliding_window=window,
            softcap=softcap,
        )
        for item, rows in zip(
            scheduled, torch.split(output[0], [item.length for item in scheduled]), strict=True
        ):
            got[item.sequence.id][item.start : item.start + item.length] = rows
    for n in range(3):
        torch.testing.assert_close(got[n], plain_attention(queries[n], keys[n], values[n], window, softcap))
    assert not cache.keys[0].any(), "another layer was written"


def test_clearing_blocks_leaves_the_others() -> None:
    cache = KVCache([(KV_HEADS, DIM)], 3, BLOCK, torch.float32, torch.device("cpu"))
    ones = torch.ones(3 * BLOCK, KV_HEADS, DIM)
    cache.write(0, torch.arange(3 * BLOCK), ones, ones)
    cache.clear([1])
    for stored in (cache.keys[0], cache.values[0]):
        assert [float(stored[block].mean()) for block in range(3)] == [1.0, 0.0, 1.0]


def test_bytes_of_a_token_count_keys_and_values_of_all_layers() -> None:
    assert bytes_per_token([(2, 8), (4, 8)], torch.bfloat16) == 2 * (2 * 8 + 4 * 8) * 2
