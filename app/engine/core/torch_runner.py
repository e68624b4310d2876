"""TorchRunner: steps through transformers' own model, on any device."""

from typing import Any

import torch

from app.engine.core import attention
from app.engine.core.attention_plan import AttentionPlan
from app.engine.core.batch import Batch
from app.engine.core.kv_cache import KVCache


class TorchRunner:
    """Runs forward passes of a transformers model with our attention.

    Args:
        model: loaded with the attention implementation `attention.NAME`.
        cache: where it keeps K and V.
    """

    def __init__(self, model: Any, cache: KVCache, device: torch.device) -> None:
        self._model = model
        self.cache = cache
        self._device = device

    @property
    def num_blocks(self) -> int:
        return self.cache.num_blocks

    @torch.inference_mode()
    def run(self, batch: Batch) -> torch.Tensor:
        """Write the batch's K and V, and return its wanted logits (rows, vocabulary)."""
        output = self._model(
            input_ids=torch.tensor([batch.tokens], device=self._device),
            position_ids=torch.tensor([batch.positions], device=self._device),
            use_cache=False,
            logits_to_keep=torch.tensor(batch.wanted, dtype=torch.long, device=self._device),
            plan=AttentionPlan.of(batch.scheduled, self.cache.block_size, self._device),
            cache=self.cache,
        )
        logits: torch.Tensor = output.logits[0]
        return logits

    def clear(self, blocks: list[int]) -> None:
        """Leave no NaN in `blocks`: whoever gets them next multiplies their unwritten slots by 0."""
        self.cache.clear(blocks)


attention.register()
