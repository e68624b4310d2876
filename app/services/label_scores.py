"""The arithmetic of a decision: from log-probabilities of labels to probabilities and confidence."""

import math
from collections.abc import Sequence


def softmax(scores: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Probabilities over the label set from one log-probability a label.

    Args:
        scores: finite log-probabilities.
        temperature: above 1 flattens, below 1 sharpens; fitted once for a model.
    """
    top = max(scores)
    weights = [math.exp((score - top) / temperature) for score in scores]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def label_mass(scores: Sequence[float]) -> float:
    """Probability, 0 to 1, that the model gave to all the labels together before they were normalised.

    A low mass says that the model would rather have answered something else.
    """
    return min(1.0, math.fsum(math.exp(score) for score in scores))


def choice_confidence(probabilities: Sequence[float]) -> float:
    """How far the likeliest of n options stands above chance: (n p - 1) / (n - 1).

    0 is a uniform answer, 1 a certain one; a lone option is certain.
    """
    count = len(probabilities)
    return 1.0 if count == 1 else max(0.0, (count * max(probabilities) - 1) / (count - 1))


def expected_level(probabilities: Sequence[float]) -> float:
    """Mean index of the levels, each weighted by its probability."""
    return math.fsum(index * probability for index, probability in enumerate(probabilities))


def score_confidence(probabilities: Sequence[float]) -> float:
    """How closely the answer gathers round its likeliest level: 1 - d / u, at least 0.

    d is the mean distance of the answer from its likeliest level, u that of a uniform answer from
    the middle of the scale: an answer split between neighbours is surer than one split between the ends.
    """
    count = len(probabilities)
    if count == 1:
        return 1.0
    top = max(range(count), key=probabilities.__getitem__)
    distance = math.fsum(probability * abs(index - top) for index, probability in enumerate(probabilities))
    uniform = math.fsum(abs(index - (count - 1) / 2) for index in range(count)) / count
    return max(0.0, 1 - distance / uniform)
