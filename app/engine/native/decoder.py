"""NativeDecoder: a Llama-family model whose whole step runs in one native call."""

import ctypes
import weakref
from enum import IntEnum
from typing import Any

import numpy
import torch
from torch import nn

from app.engine.native.library import native_library

_FAMILIES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
_FIXED_ROPES = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings whose frequencies do not depend on the length of the sequence."""
_LANES = 16
_OUT_OF_RANGE = 2


class _Part(IntEnum):
    """Weight matrices, as `Decoder::Part` in src/decoder.h counts them."""

    QUERY = 0
    KEY = 1
    VALUE = 2
    OUTPUT = 3
    GATE = 4
    UP = 5
    DOWN = 6
    HEAD = 7
    EMBEDDING = 8


class _Norm(IntEnum):
    """Norms, as `Decoder::Norm` in src/decoder.h counts them."""

    INPUT = 0
    MIDDLE = 1
    QUERY = 2
    KEY = 3
    FINAL = 4


class _Shape(ctypes.Structure):
    """`Shape` in src/decoder.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("layers", "hidden", "heads", "kv_heads", "head_dim")),
        *((name, ctypes.c_int64) for name in ("intermediate", "vocabulary", "tied")),
        ("norm_epsilon", ctypes.c_float),
        ("rope_scale", ctypes.c_float),
        ("inverse_frequencies", ctypes.c_void_p),
        ("windows", ctypes.c_void_p),
    ]


class _Step(ctypes.Structure):
    """`Step` in src/decoder.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("rows", "tables", "wanted")),
        *((name, ctypes.c_int64) for name in ("count", "table_count", "wanted_count")),
    ]


def unfit_for_native(model: Any, block_size: int) -> str | None:
    """Why the native decoder cannot run `model` (transformers'); None where it can."""
    name = type(model).__name__
    if name not in _FAMILIES:
        return f"{name} is not one of its families"
    config = model.config
    rope = (config.rope_parameters or {}).get("rope_type", "default")
    if rope not in _FIXED_ROPES:
        return f"rotary embedding of type {rope}"
    if config.hidden_act != "silu":
        return f"activation {config.hidden_act}"
    if 2 * len(model.model.rotary_emb.inv_freq) != _head_dim(model) or _head_dim(model) % _LANES:
        return f"heads of {_head_dim(model)} dimensions"
    if block_size % _LANES and _LANES % block_size:
        return f"blocks of {block_size} tokens"
    return None


def padded_block(block_size: int) -> int:
    """Tokens whose room one block of the KV cache takes."""
    return -(-block_size // _LANES) * _LANES


class NativeDecoder:
    """A model's weights, packed for the processor, its KV cache, and the step over a batch of rows.

    Args:
        model: transformers' own, on the CPU, that `unfit_for_native` has nothing against. Everything is copied.
        instruction_set: one of `library.INSTRUCTION_SETS`; None takes the best that the processor has.

    Raises:
        MemoryError: not enough for the packed weights.
        OSError: there is no native library.
    """

    def __init__(self, model: Any, instruction_set: str | None = None) -> None:
        library = native_library(instruction_set)
        if library is None:
            raise OSError("no native library")
        self._library = library
        config = model.config
        attention = model.model.layers[0].self_attn
        rope = model.model.rotary_emb
        frequencies = rope.inv_freq.float().contiguous()
        windows = numpy.array([_window(layer.self_attn) for layer in model.model.layers], dtype=numpy.int64)
        tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
        self.vocab_size: int = model.lm_head.out_features
        shape = _Shape(
            layers=len(model.model.layers),
            hidden=config.hidden_size,
            heads=attention.q_proj.out_features // _head_dim(model),
            kv_heads=attention.k_proj.out_features // _head_dim(model),
            head_dim=_head_dim(model),
            intermediate=config.intermediate_size,
            vocabulary=self.vocab_size,
            tied=tied,
            norm_epsilon=config.rms_norm_eps,
            rope_scale=rope.attention_scaling,
            inverse_frequencies=frequencies.data_ptr(),
            windows=windows.ctypes.data,
        )
        self._decoder = library.repartee_decoder_new(ctypes.byref(shape), torch.get_num_threads())
        if not self._decoder:
            raise MemoryError("no memory for the packed weights")
        weakref.finalize(self, library.repartee_decoder_free, self._decoder)
        self._pack(model, tied)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the packed weights."""
        return int(self._library.repartee_decoder_bytes(self._decoder))

    def allocate(self, blocks: int, block_size: int) -> None:
        """Make room for `blocks` blocks of K and V; pages cost memory once they are written.

        Raises:
            MemoryError: the system gives no such range.
        """
        if self._library.repartee_decoder_allocate(self._decoder, blocks, block_size):
            raise MemoryError("no memory for the KV cache")

    def step(
        self, rows: "numpy.typing.NDArray[numpy.int32]", tables: list[int], wanted: list[int], threads: int
    ) -> torch.Tensor:
        """Write the rows' K and V; return the logits (wanted, vocabulary), float32, of the rows that `wanted` names.

        Args:
            rows: (rows, 6), the fields of `Row` in src/attention.h.
            tables: block numbers of the sequences, one table after another.

        Raises:
            IndexError: an index is out of its range; nothing was computed.
            MemoryError: not enough for what the step keeps between layers.
        """
        logits = torch.empty(len(wanted), self.vocab_size)
        table = numpy.array(tables, dtype=numpy.int32)
        chosen = numpy.array(wanted, dtype=numpy.int32)
        step = _Step(
            rows.ctypes.data, table.ctypes.data, chosen.ctypes.data, len(rows), len(table), len(chosen)
        )
        failed = self._library.repartee_decoder_step(
            self._decoder, ctypes.byref(step), logits.data_ptr(), threads
        )
        if failed == _OUT_OF_RANGE:
            raise IndexError("a token, a block or an index of the step is out of its range")
        if failed:
            raise MemoryError("no memory for a step of the native decoder")
        return logits

    def _pack(self, model: Any, tied: bool) -> None:
        for number, layer in enumerate(model.model.layers):
            attention, mlp = layer.self_attn, layer.mlp
            self._take_linear(number, _Part.QUERY, attention.q_proj)
            self._take_linear(number, _Part.KEY, attention.k_proj)
            self._take_linear(number, _Part.VALUE, attention.v_proj)
            self._take_linear(number, _Part.OUTPUT, attention.o_proj)
            self._take_linear(number, _Part.GATE, mlp.gate_proj)
            self._take_linear(number, _Part.UP, mlp.up_proj)
            self._take_linear(number, _Part.DOWN, mlp.down_proj)
            self._take_norm(number, _Norm.INPUT, layer.input_layernorm)
            self._take_norm(number, _Norm.MIDDLE, layer.post_attention_layernorm)
            if hasattr(attention, "q_norm"):
                self._take_norm(number, _Norm.QUERY, attention.q_norm)
                self._take_norm(number, _Norm.KEY, attention.k_norm)
        self._take_norm(0, _Norm.FINAL, model.model.norm)
        self._take_linear(0, _Part.HEAD, model.lm_head)
        if not tied:
            self._take_weights(0, _Part.EMBEDDING, model.model.embed_tokens)

    def _take_linear(self, layer: int, part: _Part, linear: nn.Linear) -> None:
        if linear.bias is not None:
            bias = linear.bias.detach().float().contiguous()
            self._library.repartee_decoder_set_bias(self._decoder, layer, part, bias.data_ptr())
        self._take_weights(layer, part, linear)

    def _take_weights(self, layer: int, part: _Part, module: Any) -> None:
        weights = module.weight.detach().to(torch.bfloat16).contiguous()
        self._library.repartee_decoder_set_weights(self._decoder, layer, part, weights.data_ptr())

    def _take_norm(self, layer: int, norm: _Norm, module: Any) -> None:
        weights = module.weight.detach().float().contiguous()
        self._library.repartee_decoder_set_norm(self._decoder, layer, norm, weights.data_ptr())


def _head_dim(model: Any) -> int:
    return int(model.model.layers[0].self_attn.head_dim)


def _window(attention: Any) -> int:
    """Positions that a query of this layer sees; 0 for all. Mistral keeps one number for all layers."""
    owner = attention.config if type(attention).__name__.startswith("Mistral") else attention
    return getattr(owner, "sliding_window", None) or 0
