"""ModelRunner: the loaded model and its KV cache; a batch goes in, logits of the wanted rows come out."""

import torch

from app.engine.config import EngineConfig
from app.engine.core import attention
from app.engine.core.batch import Batch
from app.engine.core.kv_cache import KVCache, bytes_per_token
from app.engine.core.memory import free_memory
from app.engine.core.model_loader import LoadedModel
from app.errors import ReparteeError


class OutOfMemory(ReparteeError):
    """The KV cache cannot hold even one sequence of the longest allowed length."""


class ModelRunner:
    """Runs forward passes.

    Args:
        loaded: the model with its device and dtype.
        config: sizes of the KV cache.

    Raises:
        OutOfMemory: the cache would be smaller than `max_model_len`; the message says what to change.
    """

    def __init__(self, loaded: LoadedModel, config: EngineConfig) -> None:
        self.loaded = loaded
        self.cache = KVCache(
            loaded.kv_shapes,
            _num_blocks(loaded, config),
            config.block_size,
            loaded.activation_dtype,
            loaded.device,
        )

    @torch.inference_mode()
    def run(self, batch: Batch) -> torch.Tensor:
        """Write the batch's K and V, and return its wanted logits (rows, vocabulary)."""
        output = self.loaded.model(
            input_ids=batch.input_ids,
            position_ids=batch.positions,
            use_cache=False,
            logits_to_keep=batch.wanted,
            plan=batch.plan,
            cache=self.cache,
        )
        logits: torch.Tensor = output.logits[0]
        return logits


def _num_blocks(loaded: LoadedModel, config: EngineConfig) -> int:
    """Blocks of the cache: as set, or what the memory share gives, but no more than could ever be used."""
    per_token = bytes_per_token(loaded.kv_shapes, loaded.activation_dtype)
    tokens = config.kv_cache_tokens
    if not tokens:
        affordable = int(free_memory(loaded.device) * config.kv_cache_memory_ratio) // per_token
        tokens = min(affordable, config.max_running * loaded.max_model_len)
    blocks = -(-tokens // config.block_size)
    if blocks * config.block_size < loaded.max_model_len:
        raise OutOfMemory(
            f"The KV cache would hold {tokens} tokens ({per_token} bytes each), fewer than one sequence of "
            f"{loaded.max_model_len}. Lower REPARTEE_MAX_MODEL_LEN, or raise REPARTEE_KV_CACHE_MEMORY_RATIO "
            "or REPARTEE_KV_CACHE_TOKENS."
        )
    return blocks


attention.register()
