"""NativeDecoder: a Llama-family model whose whole step runs in one native call."""

import ctypes
import weakref
from array import array
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy
import torch
from torch import nn

from app.engine.native.library import instruction_set_of, native_library
from app.engine.native.llama_family import LANES, Norm, Part, check_modules, head_dim, linears, norms, window


class _Outcome(IntEnum):
    """What native functions return, as src/outcome.h counts it."""

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


class WeightFormat(IntEnum):
    """How weights are packed, as `Format` in src/matrix.h counts them."""

    BF16 = 0
    INT8 = 1
    INT4 = 2


class _Shape(ctypes.Structure):
    """`Shape` in src/decoder.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("layers", "hidden", "heads", "kv_heads", "head_dim")),
        *((name, ctypes.c_int64) for name in ("intermediate", "vocabulary", "tied", "format")),
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


_SPOKEN = 5
"""Numbers that `Spoken` in src/burst.h has."""


class _Burst(ctypes.Structure):
    """`Burst` in src/burst.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("speakers", "tables", "stops", "foretold", "widths")),
        *((f"{name}_count", ctypes.c_int64) for name in ("speaker", "table", "stop", "foretold", "width")),
        *((name, ctypes.c_int64) for name in ("rounds", "arrivals", "stride")),
        *((name, ctypes.c_void_p) for name in ("tokens", "spoken")),
        ("done", ctypes.c_int64),
    ]


class Speaker(NamedTuple):
    """A sequence that goes on by itself for some tokens.

    Attributes:
        token, place: its last token and where that stands; all before it have their K and V.
        blocks: the numbers of its blocks.
        most: tokens that it may say, at least one; its blocks have room for them.
        stops: tokens after which it says no more.
        foretold: what it will probably say.
        widths: how many of these each step computes at once; one more comes from the step itself.
    """

    token: int
    place: int
    blocks: list[int]
    most: int
    stops: list[int]
    foretold: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a sequence said in a burst.

    Attributes:
        tokens: at most as many as it might, the last perhaps one to stop at; none where its logits were not finite.
        drafted: foretold tokens that were computed at once, of which `accepted` were right.
        tested: foretold tokens that were compared with what it said, of which `matched` came true.
    """

    tokens: list[int]
    drafted: int
    accepted: int
    tested: int
    matched: int


def padded_block(block_size: int) -> int:
    """Tokens whose room one block of the KV cache takes."""
    return -(-block_size // LANES) * LANES


def _shape(model: Any, weights: WeightFormat, tied: bool) -> _Shape:
    """A model's shape, still without what its rotary embedding and its windows are."""
    config = model.config
    return _Shape(
        layers=len(model.model.layers),
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=head_dim(config),
        intermediate=config.intermediate_size,
        vocabulary=model.lm_head.out_features,
        tied=tied,
        format=weights,
        norm_epsilon=config.rms_norm_eps,
    )


def packed_bytes(model: Any, weights: WeightFormat) -> int:
    """Bytes that the weights of a model would take, which may be one without any: on PyTorch's device `meta`.

    A decoder is made and let go again: its memory is only reserved, for nothing is written to it.

    Raises:
        UnfitModel: its modules are not what its configuration says.
        MemoryError: more than the system would ever give.
        OSError: there is no native library.
    """
    library = native_library()
    if library is None:
        raise OSError("no native library")
    check_modules(model)
    shape = _shape(model, weights, tied=model.lm_head.weight is model.model.embed_tokens.weight)
    nothing = numpy.zeros(max(shape.head_dim, shape.layers), dtype=numpy.int64)
    shape.inverse_frequencies = shape.windows = nothing.ctypes.data
    handle = ctypes.c_void_p()
    _check(library.repartee_decoder_new(ctypes.byref(shape), 1, ctypes.byref(handle)))
    try:
        return int(library.repartee_decoder_bytes(handle))
    finally:
        library.repartee_decoder_free(handle)


class NativeDecoder:
    """A model's weights, packed for the processor, its KV cache, and the step over a batch of rows.

    Args:
        model: transformers' own, on the CPU, whose configuration fits (`unfit_for_native`). It is taken apart, and each
            layer let go as soon as it is copied.
        weights: of the linear layers and the head.
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
        self.instruction_set = instruction_set_of(library)
        rope = model.model.rotary_emb
        frequencies = rope.inv_freq.float().contiguous()
        windows = numpy.array([window(layer.self_attn) for layer in model.model.layers], dtype=numpy.int64)
        tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
        self.vocab_size: int = model.lm_head.out_features
        shape = _shape(model, weights, tied)
        shape.rope_scale = rope.attention_scaling
        shape.inverse_frequencies = frequencies.data_ptr()
        shape.windows = windows.ctypes.data
        check_modules(model)
        handle = ctypes.c_void_p()
        self.threads = torch.get_num_threads()
        """Those that packed the weights: PyTorch's number then, which is one for each core if nobody set it."""
        _check(library.repartee_decoder_new(ctypes.byref(shape), self.threads, ctypes.byref(handle)))
        self._decoder = handle
        # Not at the process's end: a step may still run then, and the system takes everything back by itself.
        weakref.finalize(self, library.repartee_decoder_free, handle).atexit = False
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

    def burst(
        self, speakers: list[Speaker], rounds: int, threads: int, arrivals: int = -1
    ) -> tuple[list[Spoken], int]:
        """Up to `rounds` decode steps in one call, in which sequences say their likeliest tokens; and how many it made.

        The same tokens as single steps give. It ends early when most of the sequences had tokens foretold and have none
        left, or `arrivals` becomes readable.

        Args:
            arrivals: file descriptor; negative for none.

        Raises:
            IndexError: an index is out of its range; nothing was computed.
            MemoryError: not enough for what a step keeps between layers.
        """
        fields, tables, stops, foretold, widths = (array("i") for _ in range(5))
        for one in speakers:
            fields.extend((one.token, one.place, len(tables), one.most))
            tables.extend(one.blocks)
            for some, all_ in ((one.stops, stops), (one.foretold, foretold), (one.widths, widths)):
                fields.extend((len(all_), len(all_) + len(some)))
                all_.extend(some)
        stride = max(one.most for one in speakers)
        tokens, spoken = (array("i", [0]) * (size * len(speakers)) for size in (stride, _SPOKEN))
        inputs = [each.buffer_info()[0] for each in (fields, tables, stops, foretold, widths)]
        counts = [len(speakers), len(tables), len(stops), len(foretold), len(widths)]
        burst = _Burst(
            *inputs, *counts, rounds, arrivals, stride, tokens.buffer_info()[0], spoken.buffer_info()[0], 0
        )
        _check(self._library.repartee_decoder_burst(self._decoder, ctypes.byref(burst), threads))
        results = []
        for number in range(len(speakers)):
            count, *figures = spoken[_SPOKEN * number : _SPOKEN * (number + 1)]
            results.append(Spoken(list(tokens[number * stride : number * stride + count]), *figures))
        return results, burst.done

    def _pack(self, model: Any, tied: bool) -> None:
        layers = model.model.layers
        for number in range(len(layers)):
            for part, linear, _ in linears(layers[number], model.config):
                self._take_linear(number, part, linear)
            for norm, module, _ in norms(layers[number], model.config):
                self._take_norm(number, norm, module)
            layers[number] = nn.Identity()
        self._take_norm(0, Norm.FINAL, model.model.norm)
        self._take_linear(0, Part.HEAD, model.lm_head)
        if not tied:
            self._take_weights(0, Part.EMBEDDING, model.model.embed_tokens)

    def _take_linear(self, layer: int, part: Part, linear: nn.Linear) -> None:
        if linear.bias is not None:
            bias = linear.bias.detach().float().contiguous()
            _check(self._library.repartee_decoder_set_bias(self._decoder, layer, part, bias.data_ptr()))
        self._take_weights(layer, part, linear)

    def _take_weights(self, layer: int, part: Part, module: Any) -> None:
        weights = module.weight.detach().contiguous()
        if weights.dtype is torch.bfloat16:
            take = self._library.repartee_decoder_set_bf16
        else:
            take, weights = self._library.repartee_decoder_set_float32, weights.float()
        _check(take(self._decoder, layer, part, weights.data_ptr()))

    def _take_norm(self, layer: int, norm: Norm, module: Any) -> None:
        weights = module.weight.detach().float().contiguous()
        _check(self._library.repartee_decoder_set_norm(self._decoder, layer, norm, weights.data_ptr()))
