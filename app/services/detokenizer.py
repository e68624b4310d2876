"""Detokenizer: token ids in, text deltas out, never half a character."""

import codecs
from collections.abc import Sequence

from tokenizers.decoders import DecodeStream

from app.services.tokenizer import Tokenizer


class Detokenizer:
    """The text of one sequence, token by token; ids that are no text (special tokens) are skipped."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = _ByteDecoder(tokenizer) if tokenizer.byte_level else _WindowDecoder(tokenizer)

    def feed(self, tokens: Sequence[int]) -> str:
        """Text that is certain after these tokens: what ends inside a character waits for the rest of it."""
        hidden = self._tokenizer.hidden_ids
        shown = tokens if hidden.isdisjoint(tokens) else [token for token in tokens if token not in hidden]
        return self._decoder.feed(shown)

    def flush(self) -> str:
        """What is left at the end; an unfinished character is U+FFFD, as in `Tokenizer.decode`."""
        return self._decoder.flush()


class _ByteDecoder:
    """Byte-level vocabularies: the bytes of the tokens, as far as they are whole characters of UTF-8."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._rest = b""

    def feed(self, tokens: Sequence[int]) -> str:
        data = self._rest + b"".join(map(self._tokenizer.token_bytes, tokens))
        text, length = codecs.utf_8_decode(data, "replace", False)
        self._rest = data[length:]
        return text

    def flush(self) -> str:
        text, self._rest = self._rest.decode("utf-8", "replace"), b""
        return text


class _WindowDecoder:
    """Other vocabularies: a short window of tokens through the tokenizer's own decoder."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=False)
        self._tokens: list[int] = []
        self._length = 0

    def feed(self, tokens: Sequence[int]) -> str:
        self._tokens += tokens
        text = "".join(self._tokenizer.step(self._stream, token) for token in tokens)
        self._length += len(text)
        return text

    def flush(self) -> str:
        return self._tokenizer.decode(self._tokens)[self._length :]
