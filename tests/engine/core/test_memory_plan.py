"""The plan of a model's memory, made without its weights, against the model that is really loaded."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from app.engine.config import EngineConfig
from app.engine.core import memory_plan
from app.engine.core.memory_plan import plan_memory
from app.engine.core.model_loader import ModelLoadError, load_model
from app.engine.core.model_runner import OutOfMemory, make_runner
from tests.engine.core.tiny_models import FAMILIES, tiny_checkpoint

FREE = 8 << 20


def config(model: Path, **overrides: Any) -> EngineConfig:
    return EngineConfig(model=str(model), device="cpu", **overrides)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("quantization", ["auto", "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_plan_is_what_loading_takes(
    monkeypatch: pytest.MonkeyPatch, family: str, quantization: str, dtype: torch.dtype
) -> None:
    settings = config(tiny_checkpoint(family, dtype), quantization=quantization, block_size=8)
    plan, loaded = plan_memory(settings), load_model(settings)
    assert (plan.kernels, plan.load.quantization) == (loaded.kernels, loaded.quantization)
    assert plan.weight_bytes == loaded.memory_bytes
    free = FREE
    for module in ("app.engine.core.model_runner", "app.engine.core.memory_plan"):
        monkeypatch.setattr(f"{module}.free_memory", lambda device: free)
    planned = plan_memory(settings).cache_blocks(settings)
    free -= loaded.memory_bytes  # so much less is free once the weights lie there
    assert planned == make_runner(loaded, settings).num_blocks


@pytest.mark.parametrize("quantization", ["int8", "int4", "none"])
@pytest.mark.parametrize("tied", [True, False])
def test_packed_weights_are_counted_to_the_byte(tmp_path: Path, quantization: str, tied: bool) -> None:
    config_of = type(FAMILIES["qwen2"])
    model = config_of(**FAMILIES["qwen2"].to_dict() | {"tie_word_embeddings": tied, "vocab_size": 161})
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_config(model).to(torch.bfloat16).save_pretrained(tmp_path)
    settings = config(tmp_path, quantization=quantization)
    assert plan_memory(settings).weight_bytes == load_model(settings).memory_bytes


@pytest.mark.parametrize("quantization", ["bnb-nf4", "bnb-int8"])
def test_what_bitsandbytes_takes_is_about_right(quantization: str) -> None:
    settings = config(tiny_checkpoint("llama", torch.bfloat16), quantization=quantization)
    plan, loaded = plan_memory(settings), load_model(settings)
    assert plan.kernels == loaded.kernels == "bitsandbytes"
    assert plan.weight_bytes == pytest.approx(loaded.memory_bytes, rel=0.1)


def test_a_cache_smaller_than_one_sequence_is_refused_as_at_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_plan, "free_memory", lambda device: 0)
    settings = config(tiny_checkpoint("llama"))
    with pytest.raises(OutOfMemory, match="REPARTEE_KV_CACHE"):
        plan_memory(settings).cache_blocks(settings)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"model_type": "?"}', '{"model_type": "llama", "hidden_size": "many"}']
)
def test_a_broken_configuration_is_one_line(tmp_path: Path, content: str) -> None:
    shutil.copy(tiny_checkpoint("llama") / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelLoadError) as refusal:
        plan_memory(config(tmp_path))
    assert "\n" not in refusal.value.message and str(tmp_path) in refusal.value.message
