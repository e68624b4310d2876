"""Log-probabilities of chosen tokens: those of a whole softmax, and NaN where a row is not finite."""

import math

import pytest
import torch

from app.engine.native.log_probabilities import log_probabilities

ROWS, TOKENS = [0, 0, 1, 3], [5, 0, 76, 31]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("vocabulary", [77, 80, 4_096])
def test_as_in_a_softmax_over_the_whole_vocabulary(vocabulary: int, dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    logits = 8 * torch.randn(4, vocabulary)
    logits[0, 7] = -math.inf
    expected = logits.double().log_softmax(-1)[ROWS, TOKENS]
    found = log_probabilities(logits.to(dtype), ROWS, TOKENS)
    assert found == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("token", [0, 20, 76])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_that_is_not_finite_gives_nan_and_leaves_the_others_alone(
    number: float, token: int, dtype: torch.dtype
) -> None:
    logits = torch.zeros(4, 77, dtype=dtype)
    logits[1, token] = number
    found = log_probabilities(logits, ROWS, [5, 0, 30, 31])
    assert [math.isnan(value) for value in found] == [False, False, True, False]


def test_a_row_without_any_likely_token_gives_nan() -> None:
    assert math.isnan(log_probabilities(torch.full((1, 77), -math.inf), [0], [4])[0])


@pytest.mark.parametrize("token", [-1, 77])
def test_a_token_beyond_the_vocabulary_is_an_error(token: int) -> None:
    with pytest.raises(IndexError):
        log_probabilities(torch.zeros(1, 77), [0], [token])
