"""Log-probabilities of a few tokens after each of some rows, without those of all the others."""

import numpy
import torch

from app.engine.native.library import native_library


def log_probabilities(logits: torch.Tensor, rows: list[int], tokens: list[int]) -> list[float]:
    """For each pair of a row and a token, the token's log-probability there; NaN where the row is not finite.

    Args:
        logits: (rows, vocabulary).
        rows: ascending, as indices of `logits`; one may stand there several times.
        tokens: as many.

    Raises:
        IndexError: a token is none of the vocabulary.
    """
    library = native_library() if logits.device.type == "cpu" and logits.dtype is torch.float32 else None
    if library is None:
        chosen = torch.tensor([rows, tokens], device=logits.device, dtype=torch.long)
        found: list[float] = logits.float().log_softmax(-1)[chosen[0], chosen[1]].tolist()
        return found
    logits = logits.contiguous()
    pairs = numpy.array([rows, tokens], dtype=numpy.int32)
    results = numpy.empty(len(rows))
    addresses = (pairs[0].ctypes.data, pairs[1].ctypes.data, len(rows), results.ctypes.data)
    if library.repartee_log_probabilities(logits.data_ptr(), logits.shape[-1], *addresses):
        raise IndexError("a label's token is none of the model's vocabulary")
    values: list[float] = results.tolist()
    return values
