"""The native decoder: near float32 on the same weights, and bit-equal however its rows are cut into steps."""

import copy
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
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from app.engine.native.decoder import NativeDecoder, WeightFormat
from app.engine.native.library import supported_sets
from app.engine.native.llama_family import UnfitModel, unfit_for_native
from tests.engine.core import tiny_models

SIZES = tiny_models.SIZES | {
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
}


def rope(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0} | parameters}


MODELS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES, rms_norm_eps=0.1),
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
    "qwen3": Qwen3Config(**SIZES, tie_word_embeddings=True, rms_norm_eps=0.1),
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


def made(
    of: Any, weights: WeightFormat = WeightFormat.BF16, instruction_set: str | None = None, blocks: int = 16
) -> NativeDecoder:
    """A decoder of a copy, because it takes a model apart."""
    native = NativeDecoder(copy.deepcopy(of), weights, instruction_set)
    native.allocate(blocks, BLOCK)
    return native


@cache
def decoder(
    name: str, weights: WeightFormat = WeightFormat.BF16, instruction_set: str | None = None
) -> NativeDecoder:
    return made(model(name), weights, instruction_set)


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


BOUNDS = {WeightFormat.BF16: 0.01, WeightFormat.INT8: 0.04, WeightFormat.INT4: 0.4}
"""Largest error of the logits, root mean square, in units of their own spread. Random weights are the hardest to
quantize: those of a trained model lose far less (the model card has its perplexities)."""


@pytest.mark.parametrize("instruction_set", supported_sets())
@pytest.mark.parametrize("weights", WeightFormat)
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_near_those_of_float32(name: str, weights: WeightFormat, instruction_set: str) -> None:
    assert unfit_for_native(MODELS[name], BLOCK) is None
    native = decoder(name, weights, instruction_set)
    (logits,) = step(native, [Cut(tokens(name), [3, 1, 7, 9, 2], 0, TOKENS)])
    with torch.inference_mode():
        expected = model(name)(torch.tensor([tokens(name)])).logits[0]
    error = (logits - expected).square().mean().sqrt() / expected.std()
    assert float(error) < BOUNDS[weights]


@pytest.mark.parametrize("instruction_set", supported_sets())
@pytest.mark.parametrize("weights", WeightFormat)
@pytest.mark.parametrize("name", ["llama, sizes that fill no vector", "mistral, sliding window", "qwen3"])
def test_bit_equal_in_any_mix_of_rows_and_threads(
    name: str, weights: WeightFormat, instruction_set: str
) -> None:
    chooser = random.Random(9)
    native = decoder(name, weights, instruction_set)
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


@pytest.mark.parametrize("instruction_set", supported_sets())
@pytest.mark.parametrize("name", ["llama", "llama, one KV head", "mistral, sliding window"])
def test_branches_are_bit_equal_together_and_row_by_row(name: str, instruction_set: str) -> None:
    native = decoder(name, instruction_set=instruction_set)
    prompt, lengths = 21, [1, 3, 2, 5, 1, 1, 4, 2, 6, 3, 1, 2]
    rows = [[token, i, i, 0, i + 1, i + 1] for i, token in enumerate(tokens(name)[:prompt])]
    for length in lengths:
        start = len(rows)
        rows += [[9 + i, prompt + i, start + i, 0, prompt, start] for i in range(length)]
    packed = numpy.array(rows, dtype=numpy.int32)
    alone = [native.step(packed[[row]], [0, 1, 2, 3], [0], threads=1) for row in range(len(rows))]
    together = native.step(packed, [4, 5, 6, 7], list(range(len(rows))), threads=1)
    assert torch.equal(together, torch.cat(alone))
    wanted = [row for row in range(len(rows)) if row % 3]
    some = native.step(packed, [4, 5, 6, 7], wanted, threads=1)
    assert torch.equal(some, together[wanted])


@pytest.mark.parametrize("instruction_set", supported_sets())
@pytest.mark.parametrize("weights", WeightFormat)
def test_bit_equal_where_rows_fill_several_blocks(weights: WeightFormat, instruction_set: str) -> None:
    """Inputs so wide that those of all rows do not fit a cache: they are multiplied a block at a time."""
    torch.manual_seed(5)
    config = LlamaConfig(**SIZES | {"intermediate_size": 4999, "num_hidden_layers": 1})
    native = made(AutoModelForCausalLM.from_config(config), weights, instruction_set, blocks=32)
    chooser = random.Random(3)
    ids = [chooser.randrange(config.vocab_size) for _ in range(450)]
    (whole,) = step(native, [Cut(ids, list(range(29)), 0, 450)])
    for start, end in ((0, 1), (1, 8), (8, 30), (30, 437), (437, 450)):
        (part,) = step(native, [Cut(ids, list(range(29)), start, end)])
        assert torch.equal(part, whole[start:end])


@pytest.mark.parametrize("weights", [WeightFormat.INT8, WeightFormat.INT4])
@pytest.mark.parametrize("name", ["llama, biases", "llama, sizes that fill no vector"])
def test_bit_equal_with_and_without_tiles(name: str, weights: WeightFormat) -> None:
    sets = [name for name in ("avx512-amx", "avx512-bf16") if name in supported_sets()]
    cut = Cut(tokens(name), [3, 1, 7, 9, 2], 0, TOKENS)
    results = [step(decoder(name, weights, one), [cut])[0] for one in sets]
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("weights", WeightFormat)
def test_only_the_wanted_rows_are_answered(weights: WeightFormat) -> None:
    name = "llama, sizes that fill no vector"
    native = decoder(name, weights)
    rows = numpy.array(
        [[token, i, i, 0, i + 1, i + 1] for i, token in enumerate(tokens(name))], dtype=numpy.int32
    )
    every = native.step(rows, [0, 1, 2, 3, 4], list(range(TOKENS)), threads=2)
    some = native.step(rows, [0, 1, 2, 3, 4], [3, 4, 40], threads=2)
    assert torch.equal(some, every[[3, 4, 40]])
    assert native.step(rows, [0, 1, 2, 3, 4], [], threads=2).shape == (0, 77)


def test_many_rows_of_which_few_are_wanted() -> None:
    """Threads share the loops of all rows, and in the end each has the few wanted ones by itself."""
    torch.manual_seed(6)
    wide = {"hidden_size": 512, "intermediate_size": 512, "num_hidden_layers": 2}
    config = LlamaConfig(**SIZES | wide)
    model = AutoModelForCausalLM.from_config(config)
    ids = [index % config.vocab_size for index in range(40)]
    rows = numpy.array([[token, i, i, 0, i + 1, i + 1] for i, token in enumerate(ids)], dtype=numpy.int32)
    results = [made(model, WeightFormat.INT8).step(rows, [0, 1, 2], [20, 39], threads) for threads in (1, 3)]
    assert torch.equal(*results)


def test_threads_with_rows_of_their_own_wait_for_what_a_sequence_wrote_before() -> None:
    """Half of the rows are short sequences and the beginning of a long one, which goes on in the other half."""
    name, singles, long = "llama", 24, 34
    native = made(model(name), blocks=64)
    alone = [step(native, [Cut([token], [3], 0, 1)], threads=1)[0] for token in range(singles)]
    ids = tokens(name)[:long]
    (expected,) = step(native, [Cut(ids, [0, 1, 2], 0, long)], threads=1)
    for trial in range(20):
        others = [
            40 + trial % 3,
            50 + trial % 3,
            60 + trial % 3,
        ]  # what their blocks held before is not the same
        step(native, [Cut(tokens(name, trial)[:48], others, 0, 48)], threads=1)
        cuts = [Cut([token], [10 + token], 0, 1) for token in range(singles)]
        *short, whole = step(native, [*cuts, Cut(ids, others, 0, long)], threads=2)
        assert torch.equal(torch.cat(short), torch.cat(alone))
        assert torch.equal(whole, expected)


@pytest.mark.parametrize("block_size", [1, 4, 32])
def test_blocks_of_other_sizes(block_size: int) -> None:
    native = made(model("qwen3"))
    native.allocate(80, block_size)
    table = random.Random(2).sample(range(80), -(-TOKENS // block_size))
    (together,) = step(native, [Cut(tokens("qwen3"), table, 0, TOKENS)])
    (expected,) = step(decoder("qwen3"), [Cut(tokens("qwen3"), [3, 1, 7, 9, 2], 0, TOKENS)])
    assert torch.allclose(together, expected, atol=0.05)
    for end in (1, 17, TOKENS):
        (last,) = step(native, [Cut(tokens("qwen3"), table, end - 1, end)])
        assert torch.equal(last, together[end - 1 : end])


@pytest.mark.parametrize("weights", WeightFormat)
@pytest.mark.parametrize("name", ["qwen2", "llama, sizes that fill no vector"])
def test_a_row_that_is_not_finite_spoils_no_other(name: str, weights: WeightFormat) -> None:
    cut = Cut([token if token != 3 else 4 for token in tokens(name)], [5, 6, 7, 8, 9], 0, TOKENS)
    poisoned = made(with_nan(model(name), token=3), weights)
    (expected,) = step(poisoned, [cut])
    bad = Cut([3] * TOKENS, [0, 1, 2, 3, 4], 0, TOKENS)
    spoilt, beside = step(poisoned, [bad, cut])
    assert spoilt.isnan().all() and torch.equal(beside, expected)
    over = Cut([3] * TOKENS, cut.table, 0, TOKENS)  # its blocks, and its rows, are the next one's
    assert step(poisoned, [over])[0].isnan().all()
    assert torch.equal(step(poisoned, [cut])[0], expected)


@pytest.mark.parametrize("weights", WeightFormat)
def test_weights_that_are_not_finite_give_no_number(weights: WeightFormat) -> None:
    broken = copy.deepcopy(model("llama"))
    broken.model.layers[1].mlp.down_proj.weight[5, 7] = torch.nan
    (logits,) = step(made(broken, weights), [Cut(tokens("llama"), [0], 0, 4)])
    assert logits.isnan().all()


def with_nan(original: Any, token: int) -> Any:
    """A copy of `original` in which one token's embedding is NaN, and with it every logit of that token."""
    config = type(original.config)(**original.config.to_dict() | {"tie_word_embeddings": False})
    other = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    other.load_state_dict(original.state_dict())
    other.model.embed_tokens.weight[token] = torch.nan
    return other


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
        ([5, 3, 3, 0, 3, 4], [0], [0]),  # it does not see itself
        ([5, 3, 3, 0, 3, 5], [0], [0]),
        ([5, 3, 3, 0, -1, 2], [0], [0]),
        ([5, 0, 0, -1, 1, 1], [0], [0]),
        ([5, 0, 0, 0, 1, 1], [0], [1]),  # logits of a row that is not there
        ([5, 0, 0, 0, 1, 1], [0], [-1]),
        ([5, 0, 0, 0, 1, 1], [0], [0, 0]),  # the same one twice
    ],
)
def test_an_index_out_of_range_is_refused(row: list[int], table: list[int], wanted: list[int]) -> None:
    native = decoder("llama")
    with pytest.raises(IndexError):
        native.step(numpy.array([row], dtype=numpy.int32), table, wanted, threads=1)


@pytest.mark.parametrize(
    ("config", "block_size", "words"),
    [
        (GemmaConfig(**SIZES), 16, "gemma"),
        (LlamaConfig(**SIZES, **rope("dynamic", factor=2.0)), 16, "dynamic"),
        (LlamaConfig(**SIZES, **rope("default", partial_rotary_factor=0.5)), 16, "rotary"),
        (LlamaConfig(**SIZES, hidden_act="gelu"), 16, "gelu"),
        (LlamaConfig(**SIZES | {"head_dim": 8}), 16, "8 dimensions"),
        (LlamaConfig(**SIZES | {"num_key_value_heads": 3}), 16, "KV head"),
        (LlamaConfig(**SIZES, quantization_config={"quant_method": "bitsandbytes"}), 16, "quantized already"),
        (LlamaConfig(**SIZES), 24, "24 tokens"),
    ],
)
def test_what_it_cannot_run_says_why(config: PreTrainedConfig, block_size: int, words: str) -> None:
    assert words in (unfit_for_native(config, block_size) or "")


def test_modules_that_are_not_what_they_should_be_are_refused() -> None:
    other = copy.deepcopy(model("llama"))
    other.model.layers[2].mlp.up_proj.weight = torch.nn.Parameter(torch.zeros(48, 64), requires_grad=False)
    with pytest.raises(UnfitModel, match="48"):
        NativeDecoder(other)
    other.model.layers[2].mlp.up_proj = torch.nn.Bilinear(1, 1, 1)
    with pytest.raises(UnfitModel, match="Bilinear"):
        NativeDecoder(other)
    assert hasattr(other.model.layers[0], "mlp"), "it was left as it was"


def test_memory_is_the_weights_alone() -> None:
    matrices = sum(p.numel() for p in model("llama, tied").parameters() if p.ndim == 2)
    scales = 4 * sum(p.shape[0] for p in model("llama, tied").parameters() if p.ndim == 2)
    assert decoder("llama, tied").memory_bytes == 2 * matrices
    assert decoder("llama, tied", WeightFormat.INT8).memory_bytes == matrices + scales


def test_threads_of_a_decoder_end_with_it() -> None:
    def count() -> int:
        gc.collect()
        return len(list(Path("/proc/self/task").iterdir()))

    before = count()
    native = made(model("llama"))
    step(native, [Cut(tokens("llama"), [0, 1, 2], 0, 40)], threads=4)
    assert count() == before + 3
    del native
    assert count() == before
