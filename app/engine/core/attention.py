"""Paged attention over the KV cache, registered with transformers' attention interface as `repartee`."""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from app.engine.core.attention_plan import AttentionGroup, AttentionPlan
from app.engine.core.kv_cache import KVCache

NAME = "repartee"


def register() -> None:
    """Make the implementation known to transformers; the plan brings all masks, so transformers builds none."""
    AttentionInterface.register(NAME, paged_attention)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    plan: AttentionPlan,
    cache: KVCache,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Write the step's K and V, then attend each group of queries to its own cached context.

    Args:
        query: (1, heads, tokens, head_dim); key and value: (1, kv_heads, tokens, head_dim).
        sliding_window: a query sees this many positions, its own included.
        softcap: logits are squashed to +-softcap (Gemma 2).

    Returns:
        (1, tokens, heads, head_dim) and no weights, as transformers' interface asks.
    """
    layer: int = module.layer_idx  # type: ignore[assignment]
    cache.write(layer, plan.slots, key[0].transpose(0, 1), value[0].transpose(0, 1))
    queries = query[0].transpose(0, 1)  # (tokens, heads, head_dim)
    output = torch.empty_like(queries, memory_format=torch.contiguous_format)
    for group in plan.groups:
        output[group.rows] = _attend(
            group, queries[group.rows], layer, cache, scaling, sliding_window, softcap
        )
    return output[None], None


def _attend(
    group: AttentionGroup,
    queries: torch.Tensor,
    layer: int,
    cache: KVCache,
    scaling: float,
    sliding_window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """(rows, heads, head_dim) of one group."""
    rows, heads, dim = queries.shape
    batched = queries.reshape(group.batch, rows // group.batch, heads, dim).transpose(1, 2)
    keys, values = cache.read(layer, group.blocks)  # (batch, kv_heads, context, head_dim)
    mask = _mask(group, sliding_window)[:, None]  # (batch, 1, queries, context)
    if softcap is None:
        attended = scaled_dot_product_attention(
            batched, keys, values, attn_mask=mask, scale=scaling, enable_gqa=keys.shape[1] != heads
        )
    else:
        attended = _capped_attention(batched, keys, values, mask, scaling, softcap)
    return attended.transpose(1, 2).reshape(rows, heads, dim)


def _mask(group: AttentionGroup, sliding_window: int | None) -> torch.Tensor:
    """(batch, queries, context) True where a query sees a cached token."""
    if sliding_window is None:
        return group.visible
    distance = group.distance
    if distance is None:
        context = torch.arange(group.visible.shape[-1], device=group.visible.device)
        distance = group.positions[..., None] - context
    return group.visible & (distance < sliding_window)


def _capped_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    softcap: float,
) -> torch.Tensor:
    """Attention whose logits are capped before the softmax, which SDPA cannot do."""
    groups = queries.shape[1] // keys.shape[1]
    keys = keys.repeat_interleave(groups, dim=1)
    values = values.repeat_interleave(groups, dim=1)
    logits = queries @ keys.transpose(-1, -2) * scaling
    logits = softcap * torch.tanh(logits / softcap)
    weights = logits.masked_fill(~mask, float("-inf")).softmax(-1, dtype=torch.float32)
    return weights.to(queries.dtype) @ values
