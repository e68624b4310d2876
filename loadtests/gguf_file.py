"""Writes a Hugging Face checkpoint as the GGUF file that llama.cpp and OpenVINO read: the same weights, in bf16.

    python -m loadtests.gguf_file MODEL TARGET

Only what the bench needs: Llama and Qwen2 without rope scaling, and byte-level BPE. Layout after the format's
specification (ggml, docs/gguf.md, version 3).
"""

import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

_VERSION = 3
_ALIGNMENT = 32
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_F32, _BF16 = 0, 30  # tensor types
_FILE_TYPE_BF16 = 32
_TOKEN_NORMAL, _TOKEN_CONTROL = 1, 3
_LAYER_TENSORS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_TENSORS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_ROTATED = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}


class NoSuchName(Exception):
    """The checkpoint holds what this writer has no name for."""


@dataclass(frozen=True)
class _Field:
    """A metadata value and its type."""

    kind: int
    value: Any


def write_gguf(model: Path, target: Path) -> None:
    """Write the checkpoint in directory `model` to the file `target`.

    Raises:
        NoSuchName: another architecture than Llama and Qwen2, or a tensor that those do not have.
    """
    config = json.loads((model / "config.json").read_text())
    if config["model_type"] not in ("llama", "qwen2"):
        raise NoSuchName(f"There is no GGUF name here for {config['model_type']} models.")
    tensors = list(_tensors(model, config))
    metadata = _model_fields(config) | _tokenizer_fields(model, config)
    with target.open("wb") as file:
        file.write(struct.pack("<4sIQQ", b"GGUF", _VERSION, len(tensors), len(metadata)))
        for name, entry in metadata.items():
            file.write(_string(name) + struct.pack("<I", entry.kind) + _value(entry))
        offset = 0
        for name, tensor in tensors:
            kind = _F32 if tensor.dtype == torch.float32 else _BF16
            sizes = tensor.shape[::-1]  # ggml counts from the innermost dimension
            file.write(_string(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset))
            offset += _padded(tensor.nbytes)
        file.write(bytes(_padded(file.tell()) - file.tell()))
        for _, tensor in tensors:
            file.write(tensor.contiguous().view(torch.uint8).numpy().data)
            file.write(bytes(_padded(tensor.nbytes) - tensor.nbytes))


def _tensors(model: Path, config: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor under its GGUF name: matrices in bf16, vectors in float32, as llama.cpp wants them."""
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="pt") as shard:
            for name in shard.keys():  # noqa: SIM118 (it is no dictionary)
                tensor = _as_rotated(name, shard.get_tensor(name), config)
                yield _gguf_name(name), tensor.to(torch.float32 if tensor.dim() == 1 else torch.bfloat16)


def _gguf_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in _TENSORS:
        return f"{_TENSORS[stem]}.{kind}"
    *_, number, part = stem.split(".", 3) if stem.startswith("model.layers.") else ("", "", "")
    if part not in _LAYER_TENSORS:
        raise NoSuchName(f"There is no GGUF name here for the tensor {name}.")
    return f"blk.{number}.{_LAYER_TENSORS[part]}.{kind}"


def _as_rotated(name: str, tensor: torch.Tensor, config: dict[str, Any]) -> torch.Tensor:
    """llama.cpp rotates neighbouring pairs in Llama, transformers the two halves of a head: reorder the rows."""
    heads = next((config[size] for part, size in _ROTATED.items() if part in name), None)
    if config["model_type"] != "llama" or heads is None:
        return tensor
    rows = tensor.shape[0] // heads
    return tensor.view(heads, 2, rows // 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def _model_fields(config: dict[str, Any]) -> dict[str, _Field]:
    family = config["model_type"]
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    numbers = {
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.key_length": head,
        "attention.value_length": head,
        "rope.dimension_count": head,
        "vocab_size": config["vocab_size"],
    }
    return {
        "general.architecture": _Field(_STRING, family),
        "general.file_type": _Field(_UINT32, _FILE_TYPE_BF16),
        **{f"{family}.{name}": _Field(_UINT32, value) for name, value in numbers.items()},
        f"{family}.attention.layer_norm_rms_epsilon": _Field(_FLOAT32, config["rms_norm_eps"]),
        f"{family}.rope.freq_base": _Field(_FLOAT32, config["rope_parameters"]["rope_theta"]),
    }


def _tokenizer_fields(model: Path, config: dict[str, Any]) -> dict[str, _Field]:
    """Vocabulary and merges; `smollm` is llama.cpp's name for the rule by which the embedded model's texts are cut."""
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    tokens = [f"[unused{number}]" for number in range(config["vocab_size"])]
    for text, number in (vocabulary | added).items():
        tokens[number] = text
    control = {token["id"] for token in tokenizer["added_tokens"] if token["special"]}
    kinds = [_TOKEN_CONTROL if number in control else _TOKEN_NORMAL for number in range(len(tokens))]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    end = config["eos_token_id"]
    return {
        "tokenizer.ggml.model": _Field(_STRING, "gpt2"),
        "tokenizer.ggml.pre": _Field(_STRING, "smollm"),
        "tokenizer.ggml.tokens": _Field(_ARRAY, (_STRING, tokens)),
        "tokenizer.ggml.token_type": _Field(_ARRAY, (_INT32, kinds)),
        "tokenizer.ggml.merges": _Field(_ARRAY, (_STRING, merges)),
        "tokenizer.ggml.eos_token_id": _Field(_UINT32, end[0] if isinstance(end, list) else end),
        "tokenizer.ggml.add_bos_token": _Field(_BOOL, False),
    }


def _value(entry: _Field) -> bytes:
    if entry.kind == _ARRAY:
        kind, values = entry.value
        return struct.pack("<IQ", kind, len(values)) + b"".join(_value(_Field(kind, one)) for one in values)
    if entry.kind == _STRING:
        return _string(entry.value)
    form = {_UINT32: "<I", _INT32: "<i", _FLOAT32: "<f", _BOOL: "<?"}[entry.kind]
    return struct.pack(form, entry.value)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


if __name__ == "__main__":
    write_gguf(Path(sys.argv[1]), Path(sys.argv[2]))
