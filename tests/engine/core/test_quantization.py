"""Which weight format `auto` takes, and that 4-bit layers of any shape run."""

import pytest
import torch
from torch import nn

from app.engine.core.quantization import avoid_unfit_kernels, choose_quantization

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIB = 1 << 30


UNFIT = "the native decoder does not know gemma models"


@pytest.mark.parametrize(
    ("device", "bf16", "plain", "chosen"),
    [
        (CPU, True, 2 * GIB, "none"),
        (CPU, False, 2 * GIB, "none"),
        (CPU, True, 6 * GIB, "bnb-nf4"),
        (CPU, False, 6 * GIB, "bnb-int8"),
        (CUDA, False, 6 * GIB, "bnb-nf4"),
        (CUDA, False, 0, "none"),
    ],
)
def test_outside_of_the_native_decoder_auto_quantizes_only_what_would_not_fit(
    device: torch.device, bf16: bool, plain: int, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    assert choose_quantization("auto", device, plain, 8 * GIB, UNFIT)[0] == chosen


def test_in_the_native_decoder_auto_takes_8_bits() -> None:
    assert choose_quantization("auto", CPU, 1, 8 * GIB, None)[0] == "int8"


@pytest.mark.parametrize("name", ["none", "int4", "bnb-int8"])
def test_what_is_set_is_taken(name: str) -> None:
    assert choose_quantization(name, CPU, 1, 8 * GIB, None) == (name, "as REPARTEE_QUANTIZATION says")


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_a_native_format_for_another_model_says_why_not(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*gemma"):
        choose_quantization(name, CPU, 1, 8 * GIB, UNFIT)


@pytest.mark.parametrize(
    ("inputs", "outputs", "fast"), [(64, 32, True), (128, 96, True), (32, 64, False), (64, 48, False)]
)
def test_only_shapes_that_it_packs_go_to_the_avx512_kernel(inputs: int, outputs: int, fast: bool) -> None:
    layer = nn.Linear(inputs, outputs)
    layer.support_avx512bf16_for_cpu = True  # type: ignore[assignment]
    avoid_unfit_kernels(nn.Sequential(layer))
    assert layer.support_avx512bf16_for_cpu is fast
