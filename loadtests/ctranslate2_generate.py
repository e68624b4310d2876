"""The peer CTranslate2: int8 weights, one static batch, in a process without HTTP.

python -m loadtests.ctranslate2_generate MODEL CONVERTED THREADS RUNS

CONVERTED is where the checkpoint MODEL (Qwen2) is kept in CTranslate2's own format; it is written unless it is there.
"""

import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

import ctranslate2
import numpy
from ctranslate2.specs import common_spec, transformer_spec

from loadtests.in_process_peer import Prompts, make_runs

Weights = dict[str, numpy.ndarray]


def main(model: str, converted: str, threads: str, runs: str) -> None:
    """Convert, load, make the runs, print."""
    if not Path(converted).exists():
        convert(Path(model), Path(converted))
    generator = ctranslate2.Generator(
        converted, device="cpu", compute_type="int8", intra_threads=int(threads) or os.cpu_count() or 1
    )

    def generate(prompts: Prompts, new_tokens: int) -> list[list[float]]:
        instants: list[list[float]] = [[] for _ in prompts]

        def note(step: Any) -> bool:
            instants[step.batch_id].append(time.perf_counter())
            return False

        generator.generate_batch(
            [[_token(number) for number in prompt] for prompt in prompts],
            max_length=new_tokens,
            min_length=new_tokens,
            sampling_topk=1,
            include_prompt_in_result=False,
            callback=note,
        )
        return instants

    make_runs(f"ctranslate2 {ctranslate2.__version__}", generate, runs)


def convert(model: Path, target: Path) -> None:
    """Write the checkpoint in int8, its tokens named by their numbers."""
    config = json.loads((model / "config.json").read_text())
    weights = _read(model / "model.safetensors")
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        config["num_hidden_layers"],
        config["num_attention_heads"],
        activation=common_spec.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
        rotary_base=config["rope_parameters"]["rope_theta"],
        num_heads_kv=config["num_key_value_heads"],
    )
    _fill(spec.decoder, weights)
    spec.register_vocabulary([_token(number) for number in range(config["vocab_size"])])
    spec.config.bos_token = _token(config["bos_token_id"])
    spec.config.eos_token = _token(config["eos_token_id"])
    spec.config.unk_token = _token(config["pad_token_id"])
    spec.config.layer_norm_epsilon = config["rms_norm_eps"]
    spec.validate()
    spec.optimize(quantization="int8")
    target.mkdir(parents=True)
    spec.save(str(target))


def _fill(decoder: Any, weights: Weights) -> None:
    decoder.scale_embeddings = False
    decoder.embeddings.weight = weights["model.embed_tokens.weight"]
    decoder.projection.weight = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    decoder.layer_norm.gamma = weights["model.norm.weight"]
    for number, layer in enumerate(decoder.layer):
        name = f"model.layers.{number}"
        attention, ffn = layer.self_attention, layer.ffn
        attention.layer_norm.gamma = weights[f"{name}.input_layernorm.weight"]
        ffn.layer_norm.gamma = weights[f"{name}.post_attention_layernorm.weight"]
        heads = [f"{name}.self_attn.{part}_proj" for part in "qkv"]
        attention.linear[0].weight = numpy.concatenate([weights[f"{head}.weight"] for head in heads])
        attention.linear[0].bias = numpy.concatenate([weights[f"{head}.bias"] for head in heads])
        attention.linear[1].weight = weights[f"{name}.self_attn.o_proj.weight"]
        ffn.linear_0.weight = weights[f"{name}.mlp.gate_proj.weight"]
        ffn.linear_0_noact.weight = weights[f"{name}.mlp.up_proj.weight"]
        ffn.linear_1.weight = weights[f"{name}.mlp.down_proj.weight"]


def _read(path: Path) -> Weights:
    """The tensors of a safetensors file in bf16, as float32: a bf16 number is a float32's upper half."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        halves = numpy.frombuffer(data[begin:end], dtype=numpy.uint16).astype(numpy.uint32)
        found[name] = (halves << 16).view(numpy.float32).reshape(entry["shape"])
    return found


def _token(number: int) -> str:
    return str(number)


if __name__ == "__main__":
    main(*sys.argv[1:])
