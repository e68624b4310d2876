"""Weight formats: which one to use, and how transformers is told."""

from typing import Any

import torch


def choose_quantization(
    requested: str, device: torch.device, parameters: int, free_bytes: int
) -> tuple[str, str]:
    """Resolve `auto`; returns the format and the reason, for the operator.

    bitsandbytes saves memory more than time (its 8-bit product is slower than bf16 nearly everywhere), so `auto`
    quantizes only where the plain weights would leave less than half of the memory for everything else.
    """
    if requested != "auto":
        return requested, "set"
    plain = parameters * (4 if device.type == "cpu" else 2)
    if plain <= free_bytes / 2:
        return "none", "the weights fit in half of the free memory"
    return "bnb-nf4", "the plain weights would take more than half of the free memory"


def quantization_arguments(name: str, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments for `from_pretrained` that load the weights in this format."""
    if name == "none":
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
