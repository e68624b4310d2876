"""Weight formats: which one to use, and how transformers is told."""

from typing import Any

import torch
from torch import nn

NATIVE = ("int8", "int4")
"""Formats of the native decoder."""


def choose_quantization(
    requested: str, device: torch.device, plain_bytes: int, free_bytes: int, unfit: str | None
) -> tuple[str, str]:
    """Resolve `auto`; returns the format and the reason, for the operator.

    The native decoder's 8 bits take half of the memory, are faster, and leave the embedded model's perplexity as it is:
    they are taken wherever it runs.
    bitsandbytes saves memory more than time (its 8-bit product is slower than bf16 nearly everywhere), so elsewhere
    `auto` quantizes only where the plain weights would leave less than half of the memory for everything else.

    Args:
        plain_bytes: size of the weights without quantization; 0 where it is unknown.
        unfit: why the native decoder cannot run the model; None where it can.

    Raises:
        ValueError: a format of the native decoder for a model that it cannot run.
    """
    if requested in NATIVE and unfit is not None:
        raise ValueError(f"REPARTEE_QUANTIZATION is {requested}, but {unfit}.")
    if requested != "auto":
        return requested, "as REPARTEE_QUANTIZATION says"
    if unfit is None:
        return "int8", "half the size of bf16, and faster"
    if plain_bytes <= free_bytes / 2:
        return "none", "the weights fit in half of the free memory"
    reason = "the plain weights would take more than half of the free memory"
    if device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported():
        # Without these instructions bitsandbytes unpacks all 4-bit weights for every token: seconds, not milliseconds.
        return "bnb-int8", f"{reason}, and this processor is too slow for 4 bits"
    return "bnb-nf4", reason


def quantization_arguments(name: str, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments for `from_pretrained` that load the weights in this format, or as they are for the native decoder."""
    if name == "none" or name in NATIVE:
        return {}
    from transformers import BitsAndBytesConfig

    if name == "bnb-nf4":
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_use_double_quant=True,
        )
    else:
        config = BitsAndBytesConfig(load_in_8bit=True)
    return {"quantization_config": config}


def avoid_unfit_kernels(model: nn.Module) -> None:
    """Keep bitsandbytes' AVX-512 product away from the 4-bit layers whose shape it cannot pack.

    It wants blocks of 32 outputs and 64 inputs and otherwise fails in the first forward pass (bitsandbytes 0.50); its
    portable product takes any shape.
    """
    for module in model.modules():
        if not isinstance(module, nn.Linear) or not hasattr(module, "support_avx512bf16_for_cpu"):
            continue
        if module.out_features % 32 or module.in_features % 64:
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
