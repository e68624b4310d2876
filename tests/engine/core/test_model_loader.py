"""Loading: weight formats, what is chosen and what is refused."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    Lfm2Config,
    MixtralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedConfig,
)

from app.engine.config import EngineConfig
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import ModelLoadError, load_model
from app.engine.core.model_runner import OutOfMemory, make_runner
from app.engine.messages import AddRequest, SamplingParams
from app.engine.native.library import supported_sets
from app.engine.native.linear import Bf16Linear
from tests.engine.core.tiny_models import VOCABULARY, tiny_checkpoint


def config(model: Path | str, **overrides: Any) -> EngineConfig:
    values: dict[str, Any] = {"model": str(model), "device": "cpu", "kv_cache_tokens": 1024}
    return EngineConfig(**(values | overrides))


def greedy(settings: EngineConfig, prompts: list[list[int]]) -> list[list[int]]:
    core = EngineCore(load_model(settings), settings)
    for number, prompt in enumerate(prompts):
        core.add(
            AddRequest(id=number, prompt=prompt, sampling=SamplingParams(max_tokens=12, ignore_eos=True))
        )
    tokens: list[list[int]] = [[] for _ in prompts]
    while core.has_work:
        for output in core.step().outputs:
            tokens[output.id] += output.tokens
    return tokens


def prompts() -> list[list[int]]:
    chooser = random.Random(11)
    return [[chooser.randrange(3, VOCABULARY) for _ in range(length)] for length in (3, 20, 41)]


@pytest.mark.parametrize("family", ["gemma", "gemma2", "gemma3"])
def test_native_linears_equal_float32_on_the_same_weights(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.core.model_loader._multiplies_bf16", lambda: False)
    checkpoint = tiny_checkpoint(family, torch.bfloat16)
    settings = config(checkpoint)
    loaded = load_model(settings)
    assert (loaded.dtype, loaded.cache_dtype) == (torch.bfloat16, torch.float32)
    assert loaded.kernels == "native-linear"
    assert isinstance(loaded.model.lm_head, Bf16Linear)
    reference = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    for prompt, tokens in zip(prompts(), greedy(settings, prompts()), strict=True):
        expected = reference.generate(
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        assert tokens == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize(("quantization", "chosen"), [("auto", "int8"), ("none", "none"), ("int4", "int4")])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_models_of_its_families_run_in_the_native_decoder(
    family: str, quantization: str, chosen: str
) -> None:
    loaded = load_model(config(tiny_checkpoint(family, torch.bfloat16), quantization=quantization))
    assert (loaded.kernels, loaded.quantization, loaded.cache_dtype) == ("native", chosen, torch.bfloat16)
    assert supported_sets()[0] in loaded.reasons[-1]
    assert loaded.memory_bytes == loaded.model.memory_bytes


def test_a_float32_checkpoint_is_quantized_too() -> None:
    loaded = load_model(config(tiny_checkpoint("llama")))
    assert (loaded.kernels, loaded.quantization, loaded.dtype) == ("native", "int8", torch.float32)


@pytest.mark.parametrize("block_size", [1, 4, 16, 32])
def test_memory_for_the_cache_counts_whole_pages(block_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """K and V of three layers, two heads, sixteen dimensions in bf16; a page has room for sixteen tokens."""
    monkeypatch.setattr("app.engine.core.model_runner.free_memory", lambda device: 4 << 20)
    settings = config(
        tiny_checkpoint("llama"), kv_cache_tokens=0, kv_cache_memory_ratio=0.5, block_size=block_size
    )
    runner = make_runner(load_model(settings), settings)
    pages = max(block_size, 16) // 16
    assert runner.num_blocks == pytest.approx((2 << 20) / (3 * 2 * 2 * 16 * 2 * 16 * pages), abs=1)


@pytest.mark.parametrize(
    ("family", "overrides", "words"),
    [
        ("gemma", {}, "gemma"),
        ("llama", {"dtype": "float32"}, "float32"),
        ("llama", {"block_size": 24}, "24 tokens"),
        ("llama", {"quantization": "bnb-int8"}, "bitsandbytes"),
    ],
)
def test_other_models_run_through_transformers(family: str, overrides: dict[str, Any], words: str) -> None:
    settings = config(tiny_checkpoint(family, torch.bfloat16), **overrides)
    loaded = load_model(settings)
    assert loaded.kernels != "native" and words in loaded.reasons[-1]
    assert all(len(tokens) == 12 for tokens in greedy(settings, prompts()))


def test_without_a_native_library_everything_runs_through_transformers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.engine.core.model_loader.native_library", lambda: None)
    monkeypatch.setattr("app.engine.core.model_loader.linear_kernel", lambda: None)
    settings = config(tiny_checkpoint("llama", torch.bfloat16))
    loaded = load_model(settings)
    assert (loaded.kernels, loaded.quantization) == ("torch", "none")
    assert "no native library" in loaded.reasons[-1]
    assert all(len(tokens) == 12 for tokens in greedy(settings, prompts()))
    with pytest.raises(ModelLoadError, match=r"int4.*no native library"):
        load_model(config(tiny_checkpoint("llama", torch.bfloat16), quantization="int4"))


SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.4,
    "pad_token_id": 0,
}
OTHERS: dict[str, PreTrainedConfig] = {
    "one projection for Q, K and V, shared heads": Phi3Config(**SMALL, num_key_value_heads=2),
    "rotary in part": GPTNeoXConfig(**SMALL),
    "learned positions": GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, initializer_range=0.4
    ),
    "norms after the layers": Olmo2Config(**SMALL),
    "experts": MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=4),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_models_of_other_kinds_run_too(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(7)
    reference = AutoModelForCausalLM.from_config(OTHERS[kind]).float().eval()
    reference.save_pretrained(tmp_path)
    for prompt, tokens in zip(prompts(), greedy(config(tmp_path, max_model_len=256), prompts()), strict=True):
        expected = reference.generate(
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        assert tokens == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize("quantization", ["bnb-nf4", "bnb-int8"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_bitsandbytes_runs_on_the_cpu(family: str, quantization: str) -> None:
    settings = config(tiny_checkpoint(family), quantization=quantization, dtype="float32")
    loaded = load_model(settings)
    assert (loaded.quantization, loaded.kernels) == (quantization, "bitsandbytes")
    plain = load_model(config(tiny_checkpoint(family), dtype="float32", quantization="none"))
    assert loaded.memory_bytes < plain.memory_bytes
    assert [len(tokens) for tokens in greedy(settings, prompts())] == [12, 12, 12]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parameters_are_counted_whatever_the_files_hold(dtype: torch.dtype) -> None:
    checkpoint = tiny_checkpoint("llama", dtype)
    stored = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(checkpoint).parameters())
    assert load_model(config(checkpoint)).parameters == stored


@pytest.mark.parametrize("quantization", ["bnb-nf4", "bnb-int8"])
def test_a_quantized_model_does_not_hold_on_to_its_checkpoint(quantization: str, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint("qwen2"), dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    loaded = load_model(config(tmp_path, quantization=quantization, dtype="bfloat16"))
    assert loaded.quantization == quantization
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"model": "/nowhere"}, "/nowhere"),
        ({"max_model_len": 4096}, "REPARTEE_MAX_MODEL_LEN"),
        pytest.param(
            {"device": "cuda"},
            "CUDA",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_what_cannot_be_loaded_says_why(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelLoadError, match=words):
        load_model(config(**({"model": tiny_checkpoint("llama")} | overrides)))


def test_layers_with_another_state_are_refused(tmp_path: Path) -> None:
    sizes = SMALL | {"layer_types": ["conv", "full_attention"], "num_key_value_heads": 2}
    AutoModelForCausalLM.from_config(Lfm2Config(**sizes)).save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="another state"):
        load_model(config(tmp_path))


class Trap:
    """What a pickle can do: leaves a file where it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "model.ckpt"])
def test_pickled_weights_are_refused_in_one_line_and_not_read(name: str, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(tiny_checkpoint("llama"), directory)
    (directory / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": Trap(tmp_path / "read")}, directory / name)
    with pytest.raises(ModelLoadError, match=rf"pickles \({name}\).*Convert them to safetensors") as refusal:
        load_model(config(directory))
    assert "\n" not in refusal.value.message
    assert not (tmp_path / "read").exists()
    torch.load(directory / name, weights_only=False)
    assert (tmp_path / "read").exists()  # the trap works


def test_a_pickle_beside_weights_of_something_else_is_not_read(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(tiny_checkpoint("llama"), directory)
    (directory / "model.safetensors").rename(directory / "adapter.safetensors")
    torch.save({"model.embed_tokens.weight": Trap(tmp_path / "read")}, directory / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match=r"no file named model\.safetensors"):
        load_model(config(directory))
    assert not (tmp_path / "read").exists()


def with_code(family: str, directory: Path) -> Path:
    """A model whose configuration names classes in a file of its own, which leaves a mark where it is run."""
    shutil.copytree(tiny_checkpoint("llama"), directory)
    path = directory / "config.json"
    classes = {"AutoConfig": "code.OwnConfig", "AutoModelForCausalLM": "code.OwnModel"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": family, "auto_map": classes}))
    (directory / "code.py").write_text(
        f"open({str(directory.parent / 'run')!r}, 'w')\nOwnConfig = OwnModel = None\n"
    )
    return directory


def test_a_model_that_needs_code_of_its_own_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="never run here") as refusal:
        load_model(config(with_code("own", tmp_path / "model")))
    assert "\n" not in refusal.value.message and "trust_remote_code" not in refusal.value.message
    assert not (tmp_path / "run").exists()


def test_code_of_a_model_of_a_known_family_is_left_alone(tmp_path: Path) -> None:
    """Many models name code from before their family was known; the library's own is used."""
    loaded = load_model(config(with_code("llama", tmp_path / "model")))
    assert type(loaded.model).__module__.startswith(("app.", "transformers."))
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(tiny_checkpoint("llama"), directory)
    tensors = load_file(directory / "model.safetensors")
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"lacks model.layers.1.mlp.down_proj.weight"):
        load_model(config(directory))


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(tiny_checkpoint("llama")).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelLoadError):
        load_model(config(tmp_path))


def test_a_cache_smaller_than_one_sequence_says_what_to_change() -> None:
    settings = config(tiny_checkpoint("llama"), kv_cache_tokens=64)
    with pytest.raises(OutOfMemory, match="REPARTEE_MAX_MODEL_LEN"):
        EngineCore(load_model(settings), settings)
