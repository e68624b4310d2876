"""Log-probabilities of tokens in the two shapes of OpenAI's API."""

from collections.abc import Iterable
from typing import Any

from app.engine.messages import TokenLogprob
from app.services.tokenizer import Tokenizer

IMPOSSIBLE = -9999.0
"""Stands for minus infinity, which JSON cannot spell."""


def chat_logprobs(entries: Iterable[TokenLogprob], tokenizer: Tokenizer) -> dict[str, Any]:
    """The chat shape: each token with its bytes and its alternatives."""
    return {
        "content": [
            _token(entry.token, entry.logprob, tokenizer)
            | {"top_logprobs": [_token(token, logprob, tokenizer) for token, logprob in entry.top]}
            for entry in entries
        ],
        "refusal": None,
    }


def completion_logprobs(entries: Iterable[TokenLogprob], tokenizer: Tokenizer, offset: int) -> dict[str, Any]:
    """The completions shape: parallel lists; `offset` counts characters from the answer's start."""
    shape: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for entry in entries:
        text = _text(entry.token, tokenizer)
        shape["tokens"].append(text)
        shape["token_logprobs"].append(max(entry.logprob, IMPOSSIBLE))
        top = {_text(token, tokenizer): max(logprob, IMPOSSIBLE) for token, logprob in reversed(entry.top)}
        shape["top_logprobs"].append(top)
        shape["text_offset"].append(offset)
        offset += len(text)
    return shape


def _text(token: int, tokenizer: Tokenizer) -> str:
    """A token's text; half a character shows as U+FFFD, and the chat shape has the bytes beside it."""
    return tokenizer.token_bytes(token).decode("utf-8", "replace")


def _token(token: int, logprob: float, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "token": _text(token, tokenizer),
        "logprob": max(logprob, IMPOSSIBLE),
        "bytes": list(tokenizer.token_bytes(token)),
    }
