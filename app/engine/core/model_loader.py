"""Loads an AutoModelForCausalLM: safetensors only, no remote code, on the chosen device, dtype and weight format."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from app.engine.config import EngineConfig
from app.engine.core.attention import NAME as ATTENTION
from app.engine.core.memory import free_memory, leave_checkpoint
from app.engine.core.quantization import avoid_unfit_kernels, choose_quantization, quantization_arguments
from app.engine.native.decoder import NativeDecoder, WeightFormat
from app.engine.native.library import native_library
from app.engine.native.linear import linear_kernel, use_bf16_linears
from app.engine.native.llama_family import UnfitModel, unfit_for_native
from app.errors import ReparteeError

UNUSABLE = (
    *(OSError, ValueError, RuntimeError, KeyError, ImportError),
    *(SafetensorError, StrictDataclassError),
)
"""What transformers and safetensors raise for a model that they cannot load."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_NATIVE_WEIGHTS = {"none": WeightFormat.BF16, "int8": WeightFormat.INT8, "int4": WeightFormat.INT4}


class ModelLoadError(ReparteeError):
    """The model cannot be loaded; the message is for the operator."""

    @classmethod
    def of(cls, model: str, error: Exception) -> "ModelLoadError":
        """What a library says of a model, on one line; its advice to trust a model's own code is not passed on."""
        said = " ".join(str(error).split())
        if "trust_remote_code" in said:
            said = "it needs Python code of its own, and code that comes with a model is never run here."
        return cls(f"Cannot load the model {model}: {said}")


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    Attributes:
        dtype: of the weights (before quantization).
        cache_dtype: of the KV cache.
        kernels: who computes: `native` for whole steps, `native-linear` for products alone, `torch`, `bitsandbytes`.
        reasons: why this weight format and these kernels, for the operator.
        kv_shapes: (kv_heads, head_dim) of each layer.
        max_model_len: longest sequence in tokens.
    """

    model: Any
    device: torch.device
    dtype: torch.dtype
    cache_dtype: torch.dtype
    quantization: str
    kernels: str
    reasons: list[str]
    kv_shapes: list[tuple[int, int]]
    max_model_len: int
    vocab_size: int
    eos_token_ids: frozenset[int]
    parameters: int
    memory_bytes: int


@dataclass(frozen=True)
class LoadPlan:
    """How a model will be loaded: decided by its configuration and its files' headers, before any weight is read.

    Attributes:
        dtype, quantization, max_model_len: as in `LoadedModel`.
        reason: why this weight format.
        parameters: by the headers of a local checkpoint; 0 where it is not local.
        unfit: why the native decoder will not run it; None where, by its configuration, it can.
    """

    hf_config: Any
    device: torch.device
    dtype: torch.dtype
    quantization: str
    reason: str
    parameters: int
    max_model_len: int
    unfit: str | None

    @property
    def text_config(self) -> Any:
        """The part of the configuration that describes the language model."""
        return self.hf_config.get_text_config(decoder=True)

    def native_weights(self) -> tuple[WeightFormat | None, str | None]:
        """The format in which the native decoder takes the weights, or None and why it does not."""
        weights = _NATIVE_WEIGHTS.get(self.quantization)
        if weights is None:
            return None, "the native decoder does not know bitsandbytes' formats"
        if weights is WeightFormat.BF16 and self.dtype is not torch.bfloat16:
            return None, "the native decoder does not compute in float32 or float16"
        return (weights, None) if self.unfit is None else (None, self.unfit)

    def wants_native_linears(self) -> bool:
        """Whether, outside of the native decoder, products alone are better done in native code."""
        return (
            self.device.type == "cpu"
            and self.quantization == "none"
            and self.dtype is torch.bfloat16
            and not _multiplies_bf16()
            and linear_kernel() is not None
        )


def plan_load(config: EngineConfig) -> LoadPlan:
    """Decide how to load the model that `config` names.

    Raises:
        ModelLoadError: no such model, a broken configuration, or a device that is not there.
    """
    device = choose_device(config.device)
    _refuse_pickles(Path(config.model))
    try:
        hf_config = AutoConfig.from_pretrained(config.model, trust_remote_code=False)
        text_config = hf_config.get_text_config(decoder=True)
        stored = choose_dtype(config.dtype, device, getattr(text_config, "dtype", None))
        parameters = _count_parameters(config.model)
        unfit = _unfit_for_native(config, text_config, device)
        quantization, reason = choose_quantization(
            config.quantization, device, parameters * stored.itemsize, free_memory(device), unfit
        )
        max_model_len = _max_model_len(config.max_model_len, text_config)
    except UNUSABLE as error:
        raise ModelLoadError.of(config.model, error) from error
    return LoadPlan(hf_config, device, stored, quantization, reason, parameters, max_model_len, unfit)


def _refuse_pickles(directory: Path) -> None:
    """A checkpoint that has no other weights is none: a pickle runs whatever its maker wrote into it."""
    if not directory.is_dir() or any(directory.glob("*.safetensors")):
        return
    if pickles := sorted(path.name for path in directory.iterdir() if path.suffix in _PICKLES):
        raise ModelLoadError(
            f"Cannot load the model {directory}: its weights are pickles ({pickles[0]}), which may run code and are "
            "never read here. Convert them to safetensors."
        )


def load_model(config: EngineConfig) -> LoadedModel:
    """Load the model that `config` names.

    Raises:
        ModelLoadError: no such model, a broken or unsafe checkpoint, or a device that is not there.
    """
    plan = plan_load(config)
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            config.model,
            config=plan.hf_config,
            dtype=plan.dtype,
            device_map={"": plan.device},
            attn_implementation=ATTENTION,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **quantization_arguments(plan.quantization, plan.dtype),
        )
        if found["missing_keys"]:
            # transformers would serve random numbers in their place.
            raise ValueError(f"the checkpoint lacks {', '.join(sorted(found['missing_keys'])[:3])}")
    except UNUSABLE as error:
        raise ModelLoadError.of(config.model, error) from error
    model.eval().requires_grad_(False)
    if plan.quantization.startswith("bnb"):
        avoid_unfit_kernels(model)
        leave_checkpoint(model)
    loaded = LoadedModel(
        model=model,
        device=plan.device,
        dtype=plan.dtype,
        cache_dtype=plan.dtype,
        quantization=plan.quantization,
        kernels="bitsandbytes" if plan.quantization.startswith("bnb") else "torch",
        reasons=[f"{plan.quantization} weights: {plan.reason}"],
        kv_shapes=kv_shapes(model),
        max_model_len=plan.max_model_len,
        vocab_size=plan.text_config.vocab_size,
        eos_token_ids=_eos_token_ids(config.model, model),
        parameters=plan.parameters or sum(parameter.numel() for parameter in model.parameters()),
        memory_bytes=model.get_memory_footprint(),
    )
    return _with_native_kernels(loaded, plan) if plan.device.type == "cpu" else loaded


def _with_native_kernels(loaded: LoadedModel, plan: LoadPlan) -> LoadedModel:
    """The same model in the native decoder, or with native linear layers, where that is possible and of use."""
    weights, reason = plan.native_weights()
    if weights is not None:
        try:
            decoder = NativeDecoder(loaded.model, weights)
        except UnfitModel as error:
            if weights is not WeightFormat.BF16:
                raise ModelLoadError(f"{error}. Set REPARTEE_QUANTIZATION=none.") from error
            reason = str(error)
        else:
            loaded = replace(loaded, model=decoder, kernels="native", memory_bytes=decoder.memory_bytes)
            return _because(
                replace(loaded, cache_dtype=torch.bfloat16),
                f"the native decoder knows this family, for {decoder.instruction_set}",
            )
    kernel = linear_kernel()
    if plan.wants_native_linears() and kernel is not None:
        use_bf16_linears(loaded.model, kernel)
        loaded = replace(loaded, cache_dtype=torch.float32, kernels="native-linear")
    return _because(loaded, reason or "")


def _because(loaded: LoadedModel, reason: str) -> LoadedModel:
    return replace(loaded, reasons=[*loaded.reasons, f"{loaded.kernels} kernels: {reason}"])


def _unfit_for_native(config: EngineConfig, text_config: Any, device: torch.device) -> str | None:
    """Why the native decoder will not run the model; None where, by its configuration, it can."""
    if device.type != "cpu":
        return "the native decoder runs on the CPU"
    if config.dtype not in ("auto", "bfloat16"):
        return f"REPARTEE_DTYPE is {config.dtype}"
    if native_library() is None:
        return "there is no native library; the log says why"
    return unfit_for_native(text_config, config.block_size)


def choose_dtype(requested: str, device: torch.device, checkpoint: Any) -> torch.dtype:
    """Resolve `auto`: the checkpoint's half type where the device or our kernels multiply it, else float32."""
    if requested != "auto":
        chosen: torch.dtype = getattr(torch, requested)
        return chosen
    half: torch.dtype | None = checkpoint if checkpoint in (torch.bfloat16, torch.float16) else None
    if device.type == "cuda":
        return half or torch.bfloat16
    if half is torch.bfloat16 and (_multiplies_bf16() or linear_kernel() is not None):
        return torch.bfloat16
    return torch.float32


def _multiplies_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported())


def choose_device(requested: str) -> torch.device:
    """Resolve `auto`: CUDA where there is one.

    Raises:
        ModelLoadError: CUDA is asked for and not there.
    """
    if requested == "cuda" and not torch.cuda.is_available():
        raise ModelLoadError("REPARTEE_DEVICE is cuda, but PyTorch sees no CUDA device.")
    if requested == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(requested)


def _count_parameters(model: str) -> int:
    """Parameters of a local checkpoint, by the headers of its files; 0 where there are none."""
    count = 0
    for path in Path(model).glob("*.safetensors"):
        with safe_open(path, "pt") as tensors:
            count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return count


def kv_shapes(model: Any) -> list[tuple[int, int]]:
    """(kv_heads, head_dim) of each attention layer, read from the layers themselves: they may differ."""
    config = model.config.get_text_config(decoder=True)
    shapes: dict[int, tuple[int, int]] = {}
    for module in model.modules():
        if getattr(module, "layer_idx", None) is None:
            continue
        if hasattr(module, "k_proj"):
            shapes[module.layer_idx] = (module.k_proj.out_features // module.head_dim, module.head_dim)
        elif type(module).__name__.endswith("Attention"):
            # One projection for Q, K and V: only the configuration tells their sizes.
            heads = config.num_attention_heads
            dim = getattr(config, "head_dim", None) or config.hidden_size // heads
            shapes[module.layer_idx] = (getattr(config, "num_key_value_heads", None) or heads, dim)
    if not shapes:
        raise ModelLoadError("This model has no attention layers that the engine knows how to cache.")
    if sorted(shapes) != list(range(config.num_hidden_layers)):
        raise ModelLoadError("This model has layers that keep another state than keys and values.")
    return [shapes[index] for index in sorted(shapes)]


def _max_model_len(requested: int, text_config: Any) -> int:
    limit = int(getattr(text_config, "max_position_embeddings", 2048))
    if requested > limit:
        raise ModelLoadError(
            f"REPARTEE_MAX_MODEL_LEN is {requested}, but this model was made for {limit} positions."
        )
    return requested or limit


def _eos_token_ids(name: str, model: Any) -> frozenset[int]:
    """End tokens: the generation config's, else the model config's."""
    try:
        ids = GenerationConfig.from_pretrained(name).eos_token_id
    except OSError:
        ids = None
    if ids is None:
        ids = model.config.eos_token_id
    if ids is None:
        return frozenset()
    return frozenset([ids] if isinstance(ids, int) else ids)
