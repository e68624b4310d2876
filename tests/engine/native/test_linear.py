"""The native linear layer: float32 arithmetic on bf16 weights, bit-equal whatever the batch and the threads."""

import pytest
import torch
from torch import nn

from app.engine.native.linear import Bf16Linear, linear_kernel

SHAPES = [(8, 16), (13, 16), (64, 37), (1, 7), (301, 256), (16, 4864)]


def layer(out: int, inner: int, bias: bool = True) -> tuple[nn.Linear, Bf16Linear]:
    kernel = linear_kernel()
    assert kernel is not None, "the suite needs a C++ compiler"
    linear = nn.Linear(inner, out, bias=bias).to(torch.bfloat16).requires_grad_(False)
    return linear, Bf16Linear(linear, kernel)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_equals_float32(shape: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(1)
    linear, native = layer(*shape, bias=bias)
    x = torch.randn(2, 17, shape[1])
    expected = nn.functional.linear(x, linear.weight.float(), linear.bias.float() if bias else None)
    assert native(x).shape == expected.shape
    assert torch.allclose(native(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_does_not_depend_on_its_batch_or_on_threads(shape: tuple[int, int]) -> None:
    torch.manual_seed(2)
    _, native = layer(*shape)
    x = torch.randn(131, shape[1])
    together = native(x)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            for rows in (1, 2, 3, 5, 48, 50, 131):
                assert torch.equal(native(x[:rows]), together[:rows])
    finally:
        torch.set_num_threads(threads)
