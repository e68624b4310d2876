"""The exponential moving average of the weights, the candidate that is usually shipped."""

import torch
from torch import nn


class Average:
    """A running average of a model's parameters, kept in fp32."""

    def __init__(self, model: nn.Module, decay: float = 0.998) -> None:
        self._decay = decay
        self.values = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Takes the weights after a step in; early steps are forgotten faster."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, weight in model.named_parameters():
            self.values[name].lerp_(weight, 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Overwrites a model's parameters with the average."""
        for name, weight in model.named_parameters():
            weight.copy_(self.values[name])
