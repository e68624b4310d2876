"""The native decoder: near float32 on the same weights, and bit-equal however its rows are cut into steps."""

import gc
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from app.engine.native.decoder import NativeDecoder, unfit_for_native
from app.engine.native.library import supported_sets

SIZES: dict[str, Any] = {
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
}


def rope(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0} | parameters}


MODELS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES),
    "llama, tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama, biases": LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "llama, sizes that fill no vector": LlamaConfig(
        **SIZES | {"vocab_size": 77, "hidden_size": 42, "intermediate_size": 51, "num_attention_heads": 6}
    ),
    "llama, one KV head": LlamaConfig(
        **SIZES | {"hidden_size": 66, "num_attention_heads": 11, "num_key_value_heads": 1}
    ),
    "llama, a KV head each": LlamaConfig(**SIZES | {"num_key_value_heads": 4, "head_dim": 80}),
    "llama, linear rope": LlamaConfig(**SIZES, **rope("linear", factor=4.0)),
    "llama, llama3 rope": LlamaConfig(
        **SIZES,
        **rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=64,
        ),
    ),
    "llama, yarn rope": LlamaConfig(
        **SIZES, **rope("yarn", factor=4.0, original_max_position_embeddings=128)
    ),
    "mistral, sliding window": MistralConfig(**SIZES, sliding_window=9),
    "qwen2": Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen2, some layers slide": Qwen2Config(
        **SIZES, use_sliding_window=True, sliding_window=9, max_window_layers=1
    ),
    "qwen3": Qwen3Config(**SIZES, tie_word_embeddings=True),
}
BLOCK = 16
TOKENS = 70


@cache
def model(name: str) -> Any:
    """A random model whose every parameter, biases and norms too, is a bf16 number other than 0 and 1."""
    torch.manual_seed(4)
    made = AutoModelForCausalLM.from_config(MODELS[name]).eval().requires_grad_(False)
    for parameter in made.parameters():
        if parameter.ndim == 1:
            parameter += 0.2 * torch.randn_like(parameter)
        parameter.copy_(parameter.to(torch.bfloat16))
    return made


@cache
def decoder(name: str, instruction_set: str | None = None) -> NativeDecoder:
    made = NativeDecoder(model(name), instruction_set)
    made.allocate(16, BLOCK)
    return made


@cache
def tokens(name: str, seed: int = 1) -> list[int]:
    chooser = random.Random(seed)
    return [chooser.randrange(MODELS[name].vocab_size) for _ in range(TOKENS)]


@dataclass
class Cut:
    """Tokens [start, end) of a sequence whose blocks are `table`."""

    ids: list[int]
    table: list[int]
    start: int
    end: int


def step(native: NativeDecoder, cuts: list[Cut], threads: int = 2) -> list[torch.Tensor]:
    """The logits of every row of each cut."""
    rows: list[list[int]] = []
    tables: list[int] = []
    for cut in cuts:
        rows += [[cut.ids[i], i, i, len(tables), i + 1, i + 1] for i in range(cut.start, cut.end)]
        tables += cut.table
    logits = native.step(numpy.array(rows, dtype=numpy.int32), tables, list(range(len(rows))), threads)
    return list(logits.split([cut.end - cut.start for cut in cuts]))


@pytest.mark.parametrize("instruction_set", supported_sets())
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_near_those_of_float32(name: str, instruction_set: str) -> None:
    """The bound for bf16: an error of one percent of the logits' own spread, root mean square."""
    assert unfit_for_native(model(name), BLOCK) is None
    (logits,) = step(decoder(name, instruction_set), [Cut(tokens(name), [3, 1, 7, 9, 2], 0, TOKENS)])
    with torch.inference_mode():
        expected = model(name)(torch.tensor([tokens(name)])).logits[0]
    error = (logits - expected).square().mean().sqrt() / expected.std()
    assert float(error) < 0.01


@pytest.mark.parametrize("instruction_set", supported_sets())
@pytest.mark.parametrize("name", ["llama, sizes that fill no vector", "mistral, sliding window", "qwen3"])
def test_bit_equal_in_any_mix_of_rows_and_threads(name: str, instruction_set: str) -> None:
    chooser = random.Random(9)
    native = decoder(name, instruction_set)
    many = [tokens(name, seed) for seed in range(3)]
    alone = []
    for ids in many:
        cuts = [Cut(ids, [0, 1, 2, 3, 4], index, index + 1) for index in range(TOKENS)]
        alone.append(torch.cat([step(native, [cut], threads=1)[0] for cut in cuts]))
    for threads in (1, 2, 3):
        free = chooser.sample(range(16), 15)
        tables = [free[:5], free[5:10], free[10:]]
        done = [0, 0, 0]
        while any(count < TOKENS for count in done):
            cuts = []
            for number in chooser.sample(range(3), 3):
                end = min(TOKENS, done[number] + chooser.choice([0, 1, 1, 2, 13, 40]))
                if end > done[number]:
                    cuts.append(Cut(many[number], tables[number], done[number], end))
                    done[number] = end
            for cut, logits in zip(cuts, step(native, cuts, threads) if cuts else [], strict=True):
                expected = alone[many.index(cut.ids)][cut.start : cut.end]
                assert torch.equal(logits, expected)


@pytest.mark.parametrize("block_size", [1, 4, 32])
def test_blocks_of_other_sizes(block_size: int) -> None:
    native = NativeDecoder(model("qwen3"))
    native.allocate(80, block_size)
    table = random.Random(2).sample(range(80), -(-TOKENS // block_size))
    (together,) = step(native, [Cut(tokens("qwen3"), table, 0, TOKENS)])
    (expected,) = step(decoder("qwen3"), [Cut(tokens("qwen3"), [3, 1, 7, 9, 2], 0, TOKENS)])
    assert torch.allclose(together, expected, atol=0.05)
    for end in (1, 17, TOKENS):
        (last,) = step(native, [Cut(tokens("qwen3"), table, end - 1, end)])
        assert torch.equal(last, together[end - 1 : end])


def test_what_others_left_is_never_read() -> None:
    cut = Cut(tokens("qwen2"), [5, 6, 7, 8, 9], 0, TOKENS)
    assert 3 not in cut.ids
    poisoned = NativeDecoder(with_nan(model("qwen2"), token=3))
    poisoned.allocate(16, BLOCK)
    (spoilt,) = step(poisoned, [Cut([3] * TOKENS, [4, 5, 6, 7, 8], 0, TOKENS)])
    assert spoilt.isnan().all()
    (after,) = step(poisoned, [cut])
    (expected,) = step(decoder("qwen2"), [cut])
    assert torch.equal(after, expected)


def with_nan(original: Any, token: int) -> Any:
    """A copy of `original` in which one token's embedding is NaN, and with it every logit of that token."""
    config = type(original.config)(**original.config.to_dict() | {"tie_word_embeddings": False})
    copy = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    copy.load_state_dict(original.state_dict())
    copy.model.embed_tokens.weight[token] = torch.nan
    return copy


@pytest.mark.parametrize(
    ("row", "table", "wanted"),
    [
        ([160, 0, 0, 0, 1, 1], [0], [0]),  # a token that the vocabulary does not have
        ([-1, 0, 0, 0, 1, 1], [0], [0]),
        ([5, -1, 0, 0, 1, 1], [0], [0]),
        ([5, 0, -1, 0, 0, 0], [0], [0]),
        ([5, 0, 0, 1, 1, 1], [0], [0]),  # a table that is not there
        ([5, 16, 16, 0, 17, 17], [0], [0]),  # a block that its table does not have
        ([5, 0, 0, 0, 1, 1], [16], [0]),  # a block that the cache does not have
        ([5, 0, 0, 0, 1, 1], [-1], [0]),
        ([5, 0, 0, 0, 2, 2], [0], [0]),  # it sees what comes after it
        ([5, 3, 3, 0, 3, 2], [0], [0]),  # it sees a token twice
        ([5, 0, 0, 0, 1, 1], [0], [1]),  # logits of a row that is not there
        ([5, 0, 0, 0, 1, 1], [0], [-1]),
    ],
)
def test_an_index_out_of_range_is_refused(row: list[int], table: list[int], wanted: list[int]) -> None:
    native = decoder("llama")
    with pytest.raises(IndexError):
        native.step(numpy.array([row], dtype=numpy.int32), table, wanted, threads=1)


@pytest.mark.parametrize(
    ("config", "block_size", "words"),
    [
        (LlamaConfig(**SIZES, **rope("dynamic", factor=2.0)), 16, "dynamic"),
        (LlamaConfig(**SIZES, hidden_act="gelu"), 16, "gelu"),
        (LlamaConfig(**SIZES | {"head_dim": 8}), 16, "8 dimensions"),
        (LlamaConfig(**SIZES), 24, "24 tokens"),
    ],
)
def test_what_it_cannot_run_says_why(config: PreTrainedConfig, block_size: int, words: str) -> None:
    assert words in (unfit_for_native(AutoModelForCausalLM.from_config(config), block_size) or "")


def test_memory_is_the_weights_alone() -> None:
    made = model("llama, tied")
    plain = 2 * sum(parameter.numel() for parameter in made.parameters() if parameter.ndim == 2)
    assert decoder("llama, tied").memory_bytes == plain


def test_threads_of_a_decoder_end_with_it() -> None:
    def count() -> int:
        gc.collect()
        return len(list(Path("/proc/self/task").iterdir()))

    before = count()
    native = NativeDecoder(model("llama"))
    native.allocate(4, BLOCK)
    step(native, [Cut(tokens("llama"), [0, 1, 2], 0, 40)], threads=4)
    assert count() == before + 3
    del native
    assert count() == before
