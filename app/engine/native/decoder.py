"""NativeDecoder: a Llama-family model whose whole step runs in one native call."""

import ctypes
import weakref
from enum import IntEnum
from typing import Any

import numpy
import torch
from torch import nn

from app.engine.native.library import native_library

_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_FIXED_ROPES = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings whose frequencies do not depend on the length of the sequence."""
_LANES = 16


class _Outcome(IntEnum):
    """What native functions return, as src/decoder.cpp counts it."""

    DONE = 0
    NO_MEMORY = 1
    OUT_OF_RANGE = 2
    NO_THREADS = 3


def _check(outcome: int) -> None:
    """Raise what a native function met.

    Raises:
        IndexError, MemoryError, OSError: by the outcome.
    """
    if outcome == _Outcome.OUT_OF_RANGE:
        raise IndexError("a token, a block or an index of the step is out of its range")
    if outcome == _Outcome.NO_MEMORY:
        raise MemoryError("no memory for the native decoder")
    if outcome == _Outcome.NO_THREADS:
        raise OSError("the system gives the native decoder no threads")


class UnfitModel(Exception):
    """A model whose modules are not what its configuration says; the message says which."""


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


class WeightFormat(IntEnum):
    """How weights are packed, as `Format` in src/matrix.h counts them."""

    BF16 = 0
    INT8 = 1
    INT4 = 2


class _Shape(ctypes.Structure):
    """`Shape` in src/decoder.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("layers", "hidden", "heads", "kv_heads", "head_dim")),
        *((name, ctypes.c_int64) for name in ("intermediate", "vocabulary", "tied", "format", "head_format")),
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


def unfit_for_native(config: Any, block_size: int) -> str | None:
    """Why the native decoder cannot run a model with this configuration (transformers'); None where it can."""
    if config.model_type not in _FAMILIES:
        return f"the native decoder does not know {config.model_type} models"
    rope = config.rope_parameters or {}
    kind = rope.get("rope_type", "default")
    if kind not in _FIXED_ROPES or rope.get("partial_rotary_factor", 1.0) != 1.0:
        return f"the native decoder does not know rotary embedding of type {kind}"
    if config.hidden_act != "silu":
        return f"the native decoder does not know the activation {config.hidden_act}"
    if _head_dim(config) % _LANES:
        return f"the native decoder does not know heads of {_head_dim(config)} dimensions"
    if config.num_attention_heads % config.num_key_value_heads:
        return "the native decoder wants as many query heads for each KV head"
    if getattr(config, "quantization_config", None) is not None:
        return "the native decoder quantizes by itself, and this checkpoint is quantized already"
    if block_size % _LANES and _LANES % block_size:
        return f"the native decoder does not know blocks of {block_size} tokens"
    return None


def padded_block(block_size: int) -> int:
    """Tokens whose room one block of the KV cache takes."""
    return -(-block_size // _LANES) * _LANES


class NativeDecoder:
    """A model's weights, packed for the processor, its KV cache, and the step over a batch of rows.

    Args:
        model: transformers' own, on the CPU, whose configuration fits (`unfit_for_native`). It is taken apart, and each
            layer let go as soon as it is copied.
        weights: of the linear layers; the head's have at least 8 bits.
        instruction_set: one of `library.INSTRUCTION_SETS`; None takes the best that the processor has.

    Not for use from several threads at once.

    Raises:
        UnfitModel: its modules are not what its configuration says; the model is left as it was.
        MemoryError: not enough for the packed weights.
        OSError: there is no native library, or there are no threads.
    """

    def __init__(
        self, model: Any, weights: WeightFormat = WeightFormat.BF16, instruction_set: str | None = None
    ) -> None:
        library = native_library(instruction_set)
        if library is None:
            raise OSError("no native library")
        self._library = library
        config = model.config
        rope = model.model.rotary_emb
        frequencies = rope.inv_freq.float().contiguous()
        windows = numpy.array([_window(layer.self_attn) for layer in model.model.layers], dtype=numpy.int64)
        tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
        self.vocab_size: int = model.lm_head.out_features
        shape = _Shape(
            layers=len(model.model.layers),
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=_head_dim(config),
            intermediate=config.intermediate_size,
            vocabulary=self.vocab_size,
            tied=tied,
            format=weights,
            head_format=min(weights, WeightFormat.INT8),
            norm_epsilon=config.rms_norm_eps,
            rope_scale=rope.attention_scaling,
            inverse_frequencies=frequencies.data_ptr(),
            windows=windows.ctypes.data,
        )
        _check_modules(model, shape)
        handle = ctypes.c_void_p()
        _check(
            library.repartee_decoder_new(ctypes.byref(shape), torch.get_num_threads(), ctypes.byref(handle))
        )
        self._decoder = handle
        # Not at the process's end: a step may still run then, and the system takes everything back by itself.
        weakref.finalize(self, library.repartee_decoder_free, handle).atexit = False
        self._pack(model, shape)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the packed weights."""
        return int(self._library.repartee_decoder_bytes(self._decoder))

    def allocate(self, blocks: int, block_size: int) -> None:
        """Make room for `blocks` blocks of K and V; pages cost memory once they are written.

        Raises:
            MemoryError: the system gives no such range.
        """
        _check(self._library.repartee_decoder_allocate(self._decoder, blocks, block_size))

    def step(
        self, rows: "numpy.typing.NDArray[numpy.int32]", tables: list[int], wanted: list[int], threads: int
    ) -> torch.Tensor:
        """Write the rows' K and V; return the logits (wanted, vocabulary), float32, of the rows that `wanted` names.

        Args:
            rows: (rows, 6), the fields of `Row` in src/attention.h.
            tables: block numbers of the sequences, one table after another.
            wanted: ascending.

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
        _check(
            self._library.repartee_decoder_step(self._decoder, ctypes.byref(step), logits.data_ptr(), threads)
        )
        return logits

    def _pack(self, model: Any, shape: _Shape) -> None:
        layers = model.model.layers
        for number in range(len(layers)):
            for part, linear, _ in _linears(layers[number], shape):
                self._take_linear(number, part, linear)
            for norm, module, _ in _norms(layers[number], shape):
                self._take_norm(number, norm, module)
            layers[number] = nn.Identity()
        self._take_norm(0, _Norm.FINAL, model.model.norm)
        self._take_linear(0, _Part.HEAD, model.lm_head)
        if not shape.tied:
            self._take_weights(0, _Part.EMBEDDING, model.model.embed_tokens)

    def _take_linear(self, layer: int, part: _Part, linear: nn.Linear) -> None:
        if linear.bias is not None:
            bias = linear.bias.detach().float().contiguous()
            _check(self._library.repartee_decoder_set_bias(self._decoder, layer, part, bias.data_ptr()))
        self._take_weights(layer, part, linear)

    def _take_weights(self, layer: int, part: _Part, module: Any) -> None:
        weights = module.weight.detach().contiguous()
        if weights.dtype is torch.bfloat16:
            take = self._library.repartee_decoder_set_bf16
        else:
            take, weights = self._library.repartee_decoder_set_float32, weights.float()
        _check(take(self._decoder, layer, part, weights.data_ptr()))

    def _take_norm(self, layer: int, norm: _Norm, module: Any) -> None:
        weights = module.weight.detach().float().contiguous()
        _check(self._library.repartee_decoder_set_norm(self._decoder, layer, norm, weights.data_ptr()))


def _linears(layer: Any, shape: _Shape) -> list[tuple[_Part, Any, tuple[int, int]]]:
    """The linear layers of a transformers layer and the shapes of their weights."""
    hidden, inner = shape.hidden, shape.intermediate
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention, mlp = layer.self_attn, layer.mlp
    return [
        (_Part.QUERY, attention.q_proj, (queries, hidden)),
        (_Part.KEY, attention.k_proj, (keys, hidden)),
        (_Part.VALUE, attention.v_proj, (keys, hidden)),
        (_Part.OUTPUT, attention.o_proj, (hidden, queries)),
        (_Part.GATE, mlp.gate_proj, (inner, hidden)),
        (_Part.UP, mlp.up_proj, (inner, hidden)),
        (_Part.DOWN, mlp.down_proj, (hidden, inner)),
    ]


def _norms(layer: Any, shape: _Shape) -> list[tuple[_Norm, Any, int]]:
    """The norms of a transformers layer and their sizes."""
    attention = layer.self_attn
    found = [
        (_Norm.INPUT, layer.input_layernorm, shape.hidden),
        (_Norm.MIDDLE, layer.post_attention_layernorm, shape.hidden),
    ]
    if hasattr(attention, "q_norm"):
        found.append((_Norm.QUERY, attention.q_norm, shape.head_dim))
        found.append((_Norm.KEY, attention.k_norm, shape.head_dim))
    return found


def _check_modules(model: Any, shape: _Shape) -> None:
    """Whether all modules are what native code is about to read.

    Raises:
        UnfitModel: one is not.
    """
    vocabulary = (shape.vocabulary, shape.hidden)
    linears: list[tuple[Any, tuple[int, int]]] = [(model.lm_head, vocabulary)]
    norms: list[tuple[Any, int]] = [(model.model.norm, shape.hidden)]
    for layer in model.model.layers:
        linears += [(module, expected) for _, module, expected in _linears(layer, shape)]
        norms += [(module, expected) for _, module, expected in _norms(layer, shape)]
    for module, _ in linears:
        if type(module) is not nn.Linear:
            raise UnfitModel(f"the native decoder does not know layers of type {type(module).__name__}")
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    shapes += [(tuple(module.weight.shape), expected) for module, expected in linears]
    shapes += [(tuple(module.weight.shape), (size,)) for module, size in norms]
    shapes.append((tuple(model.model.embed_tokens.weight.shape), vocabulary))
    shapes.append((tuple(model.model.rotary_emb.inv_freq.shape), (shape.head_dim // 2,)))
    for found, wanted in shapes:
        if found != wanted:
            raise UnfitModel(f"the native decoder expects weights of {wanted}, and these are {found}")


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _window(attention: Any) -> int:
    """Positions that a query of this layer sees; 0 for all. Mistral keeps one number for all layers."""
    owner = attention.config if type(attention).__name__.startswith("Mistral") else attention
    return getattr(owner, "sliding_window", None) or 0
