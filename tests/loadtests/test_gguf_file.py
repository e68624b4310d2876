"""The GGUF file holds the checkpoint's own weights and tokens, read here by a reader of the format's specification."""

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.settings import EMBEDDED_MODEL
from loadtests.gguf_file import NoSuchName, write_gguf
from loadtests.random_model import random_model

SCALARS = {4: "<I", 5: "<i", 6: "<f", 7: "<?"}
DTYPES = {0: torch.float32, 30: torch.bfloat16}


def read(file: BinaryIO) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Metadata and tensors, shapes as PyTorch counts them."""

    def number(form: str) -> Any:
        return struct.unpack(form, file.read(struct.calcsize(form)))[0]

    def text() -> str:
        return file.read(number("<Q")).decode()

    def value(kind: int) -> Any:
        if kind == 9:
            kind, count = number("<I"), number("<Q")
            return [value(kind) for _ in range(count)]
        return text() if kind == 8 else number(SCALARS[kind])

    assert file.read(4) == b"GGUF" and number("<I") == 3
    tensors, entries = number("<Q"), number("<Q")
    metadata = {text(): value(number("<I")) for _ in range(entries)}
    infos = []
    for _ in range(tensors):
        name = text()
        shape = [number("<Q") for _ in range(number("<I"))][::-1]
        infos.append((name, shape, DTYPES[number("<I")], number("<Q")))
    start = -(-file.tell() // 32) * 32
    found = {}
    for name, shape, dtype, offset in infos:
        assert offset % 32 == 0
        file.seek(start + offset)
        count = torch.Size(shape).numel()
        data = bytearray(file.read(count * dtype.itemsize))
        found[name] = torch.frombuffer(data, dtype=dtype).view(shape)
    return metadata, found


def converted(model: Path, target: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    write_gguf(model, target)
    with target.open("rb") as file:
        return read(file)


def test_qwen2_keeps_every_weight(tmp_path: Path) -> None:
    model = random_model("tiny", tmp_path)
    metadata, tensors = converted(model, tmp_path / "m.gguf")
    weights = load_file(model / "model.safetensors")
    assert len(tensors) == len(weights)
    assert torch.equal(tensors["token_embd.weight"], weights["model.embed_tokens.weight"])
    assert torch.equal(tensors["blk.1.attn_q.weight"], weights["model.layers.1.self_attn.q_proj.weight"])
    assert torch.equal(tensors["blk.0.ffn_down.weight"], weights["model.layers.0.mlp.down_proj.weight"])
    bias = tensors["blk.1.attn_k.bias"]
    assert bias.dtype == torch.float32 and torch.equal(
        bias, weights["model.layers.1.self_attn.k_proj.bias"].float()
    )
    assert metadata["general.architecture"] == "qwen2"
    assert metadata["qwen2.block_count"] == 2 and metadata["qwen2.attention.head_count_kv"] == 2
    assert metadata["qwen2.embedding_length"] == 64 and metadata["qwen2.rope.dimension_count"] == 16
    assert metadata["qwen2.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)


def test_llama_rotates_neighbours_instead_of_halves(tmp_path: Path) -> None:
    _, tensors = converted(Path(EMBEDDED_MODEL), tmp_path / "m.gguf")
    shards = [load_file(shard) for shard in sorted(Path(EMBEDDED_MODEL).glob("*.safetensors"))]
    weights = {name: weight for shard in shards for name, weight in shard.items()}
    theirs = weights["model.layers.0.self_attn.k_proj.weight"]
    ours = tensors["blk.0.attn_k.weight"]
    assert torch.equal(ours[64], theirs[64]) and torch.equal(ours[65], theirs[64 + 32])
    assert torch.equal(ours[66], theirs[65])
    assert torch.equal(tensors["blk.0.attn_v.weight"], weights["model.layers.0.self_attn.v_proj.weight"])


def test_the_vocabulary_has_every_token_at_its_id(tmp_path: Path) -> None:
    metadata, _ = converted(Path(EMBEDDED_MODEL), tmp_path / "m.gguf")
    tokenizer = json.loads((Path(EMBEDDED_MODEL) / "tokenizer.json").read_text())
    tokens = metadata["tokenizer.ggml.tokens"]
    assert len(tokens) == metadata["llama.vocab_size"] == 4096
    assert all(tokens[number] == text for text, number in tokenizer["model"]["vocab"].items())
    assert metadata["tokenizer.ggml.token_type"][:9] == [3] * 8 + [1]
    assert metadata["tokenizer.ggml.merges"][0] == " ".join(tokenizer["model"]["merges"][0])
    assert metadata["tokenizer.ggml.eos_token_id"] == 2


def test_an_unknown_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt_neox"}))
    with pytest.raises(NoSuchName, match="gpt_neox"):
        write_gguf(tmp_path, tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()


def test_an_unknown_tensor_is_refused(tmp_path: Path) -> None:
    model = random_model("tiny", tmp_path)
    weights = load_file(model / "model.safetensors") | {
        "model.layers.0.self_attn.q_norm.weight": torch.ones(16)
    }
    save_file(weights, model / "model.safetensors")
    with pytest.raises(NoSuchName, match="q_norm"):
        write_gguf(model, tmp_path / "m.gguf")
