"""One training run: model, optimisers, average and stream, stepped and saved as a whole."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from workshop.average import Average
from workshop.mixture import Mixture
from workshop.muon import Muon
from workshop.packing import Batch
from workshop.precision import half_precision
from workshop.presets import Preset
from workshop.schedule import rate_factor


def weighted_loss(
    model: LlamaForCausalLM, batch: Batch, backbone: Callable[..., Any]
) -> tuple[torch.Tensor, float]:
    """The weighted mean loss of a batch, and the mean loss of its answer tokens alone (weight 1)."""
    device = model.device
    chosen, targets, weights = (tensor.to(device) for tensor in batch.targets())
    with half_precision(device):
        hidden = backbone(
            input_ids=batch.ids.to(device),
            attention_mask=batch.mask().to(device),
            position_ids=batch.positions.to(device),
            use_cache=False,
        )[0]
        # Logits are the widest tensor of a small model: only the positions with a loss need them.
        logits = model.lm_head(hidden.flatten(0, 1)[chosen])
    losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    full = weights == 1.0
    # Divided by the answer tokens, so that the side task adds to the main one and does not dilute it.
    return (losses * weights).sum() / full.sum(), float(losses.detach()[full].mean())


class Trainer:
    """Everything that changes while training."""

    def __init__(
        self, config: LlamaConfig, preset: Preset, mixture: Mixture, seed: int = 1, *, compiled: bool = False
    ) -> None:
        torch.manual_seed(seed)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = LlamaForCausalLM(config).to(device)
        # Row shapes are few and fixed, so each is compiled once.
        self._backbone: Callable[..., Any] = (
            torch.compile(self.model.model, dynamic=False) if compiled else self.model.model
        )
        self.mixture, self.step, self.tokens = mixture, 0, 0
        hidden = [weight for weight in self.model.model.layers.parameters() if weight.ndim == 2]
        rest = [
            weight for name, weight in self.model.named_parameters() if weight.ndim != 2 or "embed" in name
        ]
        self.optimisers: list[tuple[torch.optim.Optimizer, float]] = [
            (Muon(hidden, preset.matrix_rate), preset.matrix_rate),
            (
                torch.optim.AdamW(rest, preset.vector_rate, betas=(0.9, 0.95), weight_decay=0.01),
                preset.vector_rate,
            ),
        ]
        self.average = Average(self.model)

    def train_step(self, progress: float) -> dict[str, float]:
        """One update at a point (0 to 1) of the schedule; the loss of each part."""
        losses: dict[str, float] = {}
        for name, batch in self.mixture.batches(self.step).items():
            loss, losses[name] = weighted_loss(self.model, batch, self._backbone)
            loss.backward()  # type: ignore[no-untyped-call]
            self.tokens += int((batch.group > 0).sum())
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser, peak in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = peak * rate_factor(progress)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.average.update(self.model, self.step)
        return losses

    def save(self, path: Path, seconds: float) -> None:
        """Writes the whole state; a reader never sees half a file."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.values,
            "step": self.step,
            "tokens": self.tokens,
            "optimisers": [optimiser.state_dict() for optimiser, _ in self.optimisers],
            "mixture": self.mixture.state(),
            "seconds": seconds,
            "config": self.model.config.to_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def start_from(self, folder: Path) -> None:
        """Takes the weights of a model folder as the first ones of a new run.

        Raises:
            RuntimeError: the folder's model has another shape.
        """
        loaded = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model.load_state_dict(loaded.state_dict())
        self.average = Average(self.model)

    def load(self, path: Path) -> float:
        """Continues a saved run; the seconds it had trained."""
        state = torch.load(path, map_location=self.model.device, weights_only=False)
        self.model.load_state_dict(state["model"])
        self.average.values = state["average"]
        for (optimiser, _), saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.mixture.restore(state["mixture"])
        self.step, self.tokens = state["step"], state["tokens"]
        return float(state["seconds"])
