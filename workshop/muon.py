"""Muon: momentum whose matrix updates are orthogonalised, so that every direction learns at the same pace.

Method: Keller Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024
(https://kellerjordan.github.io/posts/muon/). Embeddings and norms stay with AdamW.
"""

from collections.abc import Iterable

import torch
from torch import nn

from workshop.precision import half_precision

# Coefficients of the quintic iteration published there: they trade exactness for few steps.
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonal(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Roughly U V^T of the singular value decomposition of a matrix [rows, columns]."""
    a, b, c = QUINTIC
    x = matrix / (matrix.norm() + 1e-7)
    flip = x.shape[0] > x.shape[1]
    x = x.T if flip else x
    with half_precision(matrix.device):  # the iteration corrects its own rounding
        for _ in range(steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
    result: torch.Tensor = (x.T if flip else x).to(matrix.dtype)
    return result


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; for matrices of hidden layers only."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.1
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group["lr"], group["momentum"], group["decay"])

    def _update(self, weight: nn.Parameter, rate: float, momentum: float, decay: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        assert weight.grad is not None
        average = state["momentum"].lerp_(weight.grad, 1 - momentum)
        update = orthogonal(weight.grad.lerp(average, momentum))
        # A tall matrix needs a larger step for the same change of its outputs.
        scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
        weight.mul_(1 - rate * decay).add_(update, alpha=-rate * scale)
