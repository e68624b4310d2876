"""The temperature of label probabilities and how well they agree with the facts."""

import torch
from torch.nn.functional import cross_entropy

Scored = tuple[torch.Tensor, torch.Tensor]


def fit_temperature(parts: list[Scored]) -> float:
    """The temperature of least negative log likelihood on pairs of scores [rows, labels] and truth [rows]."""
    grid = [0.4 * 1.05**step for step in range(70)]
    losses = [sum(float(cross_entropy(scores / value, truth)) for scores, truth in parts) for value in grid]
    return round(grid[losses.index(min(losses))], 3)


def calibration_error(parts: list[Scored], temperature: float, bins: int = 10) -> float:
    """Expected calibration error over ten equal bins (Guo et al. 2017), 0 to 1."""
    tops = [(scores / temperature).softmax(-1).max(-1) for scores, _ in parts]
    sure = torch.cat([top.values for top in tops])
    right = torch.cat([(top.indices == truth).float() for top, (_, truth) in zip(tops, parts, strict=True)])
    bin_of = (sure * bins).long().clamp(max=bins - 1)
    gaps = [
        float(
            (sure[bin_of == one].mean() - right[bin_of == one].mean()).abs() * (bin_of == one).float().mean()
        )
        for one in range(bins)
        if bool((bin_of == one).any())
    ]
    return sum(gaps)


def auroc(positive: torch.Tensor, negative: torch.Tensor) -> float:
    """The probability that a positive scores above a negative; ties count half."""
    difference = positive[:, None] - negative[None, :]
    return float(((difference > 0).float() + 0.5 * (difference == 0).float()).mean())
