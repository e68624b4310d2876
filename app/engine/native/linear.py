"""Linear layers with bf16 weights and float32 activations, for processors that cannot multiply bf16 themselves."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from app.engine.native.library import native_library

_Kernel = Callable[..., None]


def linear_kernel() -> _Kernel | None:
    """The native kernel, where there is one."""
    library = native_library()
    return None if library is None else library.repartee_linear_bf16


class Bf16Linear(nn.Module):
    """`nn.Linear` whose bf16 weight is multiplied with float32 inputs, exactly as if it were float32.

    A row's result does not depend, to the bit, on the other rows of the batch or on the number of threads.

    Args:
        linear: the layer whose weight (out, in), bf16, and bias are taken over, not copied.
        kernel: from `linear_kernel`.
    """

    def __init__(self, linear: nn.Linear, kernel: _Kernel) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.weight = linear.weight
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.float(), requires_grad=False)
        self._kernel = kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) float32 to (..., out) float32."""
        rows = x.reshape(-1, self.in_features).contiguous()
        output = torch.empty(rows.shape[0], self.out_features)
        self._kernel(
            rows.data_ptr(),
            self.weight.data_ptr(),
            0 if self.bias is None else self.bias.data_ptr(),
            output.data_ptr(),
            rows.shape[0],
            self.out_features,
            self.in_features,
            torch.get_num_threads(),
        )
        return output.view(*x.shape[:-1], self.out_features)


def use_bf16_linears(model: nn.Module, kernel: _Kernel) -> None:
    """Give a bf16 model float32 activations: its linear layers become `Bf16Linear`, small parameters float32.

    Embeddings keep their bf16 weight (it may be the head's) and hand out float32.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, Bf16Linear(child, kernel))
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.register_forward_hook(_to_float)
        elif not isinstance(module, Bf16Linear):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.float()


def _to_float(module: nn.Module, arguments: Any, output: torch.Tensor) -> torch.Tensor:
    return output.float()
