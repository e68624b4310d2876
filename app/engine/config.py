"""The frozen slice of the settings that the engine process gets as its first message."""

import msgspec


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to load a model and how to run steps.

    Attributes:
        model: local directory or hub id of an `AutoModelForCausalLM`.
        device: `auto`, `cpu` or `cuda`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        quantization: `auto`, `none`, `int8`, `int4`, `bnb-nf4` or `bnb-int8`.
        max_model_len: longest sequence in tokens; 0 takes the model's own limit.
        block_size: tokens in one block of the KV cache.
        kv_cache_tokens: capacity of the KV cache in tokens; 0 sizes it from `kv_cache_memory_ratio`.
        kv_cache_memory_ratio: share of the device's free memory, after loading, given to the KV cache.
        max_batch_tokens: token budget of one step (decode tokens and prefill chunks together).
        prefill_chunk: prompt tokens of one step while other sequences decode: bounds their inter-token gap.
        max_running: most sequences that run at once.
        threads: CPU threads of the forward pass; 0 takes one per core, and for small models one alone
            unless a step has many rows.
        seed: base seed of requests that bring none.
        prefix_cache: share the KV blocks of equal prefixes.
        speculation: draft tokens of answers that repeat themselves or known ones, where that changes no answer.
        warmup: run a few steps before `Ready`, so that the first request is not the slow one.
    """

    model: str
    device: str = "auto"
    dtype: str = "auto"
    quantization: str = "auto"
    max_model_len: int = 0
    block_size: int = 16
    kv_cache_tokens: int = 0
    kv_cache_memory_ratio: float = 0.2
    max_batch_tokens: int = 512
    prefill_chunk: int = 128
    max_running: int = 64
    threads: int = 0
    seed: int = 0
    prefix_cache: bool = True
    speculation: bool = True
    warmup: bool = True
